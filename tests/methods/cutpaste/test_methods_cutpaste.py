"""CutPaste: reference values of densities, head, schedule and enlargement; views, scores and maps by hand; training."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_files import load
from pydantic import ValidationError
from sklearn.covariance import LedoitWolf
from tiny_problem import Net, problem, run
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.training import Training
from reprood.methods.cutpaste import density, method, patches
from reprood.methods.cutpaste.net import CutPaste, projection_head
from reprood.methods.cutpaste.scores import grad_cam, log_odds_normal, proxy_score, windows_features
from reprood.methods.cutpaste.settings import OUTPUTS, Config
from reprood.nets import efficientnet, imagenet_resnet
from reprood.nets.wrn import build as wrn

SHORT = {"epochs": 2, "batch_size": 8, "monitor_every": 2}
SMALL = {"hidden": (8,), "scar_width": (2, 4), "scar_height": (5, 9), "epoch_images": 16}
PROXIES = ("normal", "scar", "union", "3way", "rotation")


def generator(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def cases(name: str) -> Iterator[dict[str, np.ndarray]]:
    arrays = load("cutpaste", name)
    for case in range(int(arrays["n_cases"])):
        prefix = f"c{case}_"
        yield {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def settings(proxy: str = "3way", training: dict[str, Any] | None = None, **changes: Any) -> Config:
    training = {**Config().training.model_dump(), **SHORT, **(training or {})}
    return Config.model_validate({"proxy": proxy, "training": training, **SMALL, **changes})


def stripes(count: int, size: int = 16, seed: int = 0) -> ImageSet:
    """A smooth oriented pattern with noise."""
    rng = np.random.default_rng(seed)
    line = 120 + 60 * np.sin(np.arange(size) / 2)[None, :, None] + 30 * np.cos(np.arange(size) / 3)[None, None]
    images = np.clip(line + rng.normal(0, 6, (count, size, size)), 0, 255).astype(np.uint8)[:, None]
    return ImageSet(torch.from_numpy(images), torch.zeros(count, dtype=torch.int64))


def one_class(count: int = 12, size: int = 16, **changes: Any) -> Problem:
    validation = stripes(6, size, 1)
    sets = {"train": stripes(count, size), "validation": validation, "monitor": {"validation": validation}}
    return replace(problem(8, classes=1), **{**sets, "size": size, **changes})


class Mapped(Net):
    """A network that gives its last maps."""

    def maps(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(images)))

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images).mean((2, 3))


def network(config: Config, seed: int = 0) -> CutPaste:
    torch.manual_seed(seed)
    return CutPaste(Mapped(1), 1, config).eval()


def seen(images: Tensor) -> Tensor:
    return (images / 255 - 0.4) / 0.2


def fitted_to(model: CutPaste, images: Tensor, config: Config, seed: int = 0) -> dict[str, Tensor]:
    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.split(images, 5):
            yield part, torch.zeros(len(part), dtype=torch.int64)

    return method.fit_on_train(model, batches, config, generator(seed))


# --- reference values ---


@pytest.mark.golden
def test_density_reference() -> None:
    for case in cases("one_class_scorers"):
        train, test = (torch.from_numpy(case[f"{part}_embeddings"]) for part in ("train", "test"))
        count, width = train.shape
        fitted: dict[str, Tensor] = {}
        for kind in ("gaussian", "gaussian_ml", "kde", "kde_unit"):
            fitted |= density.fit_density(kind, train)
        far = {
            kind: density.distance(kind, test, fitted).numpy()
            for kind in ("gaussian", "gaussian_ml", "kde", "kde_unit")
        }
        close = np.testing.assert_allclose
        close(fitted["gaussian_shrinkage"], case["ledoit_wolf_shrinkage"], rtol=1e-5)
        close(fitted["gaussian_mean"], case["mean"], rtol=1e-5, atol=1e-12)
        close(fitted["gaussian_precision"], case["precision"], rtol=1e-4, atol=1e-6)
        close(far["gaussian"], case["mahalanobis_score"], rtol=1e-5)
        close(far["gaussian"], case["mahalanobis_score_float32_reference"], rtol=1e-3)
        # Negative log-densities are these distances but for constants and a factor or square.
        constant = width * np.log(2 * np.pi) / 2
        close(far["kde_unit"] / 2 + constant, case["kde_bandwidth1_negative_log_density"], rtol=1e-5)
        _, covariance = density.maximum_likelihood(density.unit_length(train))
        spread = float(torch.logdet(covariance)) / 2
        close(far["gaussian_ml"] ** 2 / 2 + spread + constant, case["gmm1_full_negative_log_likelihood"], rtol=1e-5)
        gamma = float(fitted["kde_gamma"])
        assert gamma == pytest.approx(float(case["kde_gamma"]), rel=1e-5)
        close(far["kde"] - 2 - np.log(count) / gamma, case["kde_gamma_score_recomputed"], rtol=1e-5)


@pytest.mark.golden
def test_head_reference() -> None:
    arrays = load("cutpaste", "projection_head")
    hidden = tuple(int(width) for width in arrays["hidden"])
    embeddings = torch.from_numpy(arrays["embeddings_concat"]).requires_grad_()
    head = projection_head(embeddings.shape[1], hidden, int(arrays["n_ways"]))
    state = {}
    for layer in range(len(hidden)):
        for part in ("weight", "bias"):
            state[f"{3 * layer}.{part}"] = arrays[f"linear{layer}_{part}"]
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{3 * layer + 1}.{part}"] = arrays[f"bn{layer}_{part}"]
    state |= {f"{3 * len(hidden)}.{part}": arrays[f"out_{part}"] for part in ("weight", "bias")}
    loaded = head.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in loaded.missing_keys)
    assert not loaded.unexpected_keys
    np.testing.assert_allclose(head.eval()(embeddings).detach(), arrays["logits_eval"], atol=1e-4)
    logits = head.train()(embeddings)
    np.testing.assert_allclose(logits.detach(), arrays["logits_train"], atol=1e-4)
    images = torch.zeros(int(arrays["batch"]), 1, 16, 16, dtype=torch.uint8)
    proxy = {2: "normal", 3: "3way"}[int(arrays["n_ways"])]
    labels = method.views(images, settings(proxy), generator())[1]
    np.testing.assert_array_equal(labels, arrays["labels"])
    loss = functional.cross_entropy(logits, labels)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(arrays["loss_train"]), abs=1e-4)
    np.testing.assert_allclose(embeddings.grad, arrays["grad_embeddings"], atol=1e-4)


@pytest.mark.golden
def test_schedule_reference() -> None:
    for case in cases("lr_schedule"):
        total, lr = int(case["total_steps"]), float(case["base_lr"])
        for epochs in {1, 2, 4, total} if total % 4 == 0 else {1, total}:
            training = Config().training.model_copy(update={"lr": lr, "epochs": epochs})
            steps = total // epochs
            actual = [training.rate(epoch, step, steps) for epoch in range(epochs) for step in range(steps)]
            np.testing.assert_allclose(actual, case["lr_used_at_step"], rtol=0, atol=1e-9)


@pytest.mark.golden
def test_enlargement_reference() -> None:
    for case in cases("gaussian_upsampling"):
        side, stride = int(case["patch_size"]), int(case["stride"])
        assert patches.kernel_deviation(side) == pytest.approx(float(case["std"]), abs=1e-9)
        np.testing.assert_allclose(patches.gaussian_kernel(side), case["kernel"], atol=1e-9)
        actual = patches.spread_scores(torch.from_numpy(case["scores"]), side, stride)
        np.testing.assert_allclose(actual, case["upsampled"], atol=1e-5)


# --- densities ---


@pytest.mark.parametrize(("count", "width"), [(30, 5), (8, 20), (2, 3)])
def test_shrinkage_is_scikit_learns(count: int, width: int) -> None:
    features = torch.randn(3, count, width, generator=generator(count), dtype=torch.float64) * torch.arange(
        1, width + 1
    )
    mean, covariance, shrinkage = density.ledoit_wolf(features)
    for one in range(3):
        theirs = LedoitWolf().fit(features[one].numpy())
        np.testing.assert_allclose(mean[one], theirs.location_, atol=1e-12)
        np.testing.assert_allclose(covariance[one], theirs.covariance_, rtol=1e-9, atol=1e-12)
        assert float(shrinkage[one]) == pytest.approx(theirs.shrinkage_, abs=1e-10)


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_ml", "kde", "kde_unit"])
def test_one_density_a_position(kind: str) -> None:
    """As many separate densities."""
    features = torch.randn(4, 12, 6, generator=generator())
    queries = torch.randn(5, 4, 6, generator=generator(1))
    together = density.distance(kind, queries, density.fit_density(kind, features))
    apart = [density.distance(kind, queries[:, i], density.fit_density(kind, features[i])) for i in range(4)]
    torch.testing.assert_close(together, torch.stack(apart, 1), rtol=1e-9, atol=1e-9)
    assert together.dtype == torch.float64
    assert bool((together >= 0).all())


@pytest.mark.parametrize("kind", ["gaussian", "kde", "kde_unit"])
def test_densities_by_loops_and_their_invariance(kind: str) -> None:
    train, test = torch.rand(20, 4, generator=generator()) + 0.1, torch.rand(7, 4, generator=generator(1)) + 0.1
    fitted = density.fit_density(kind, train)
    actual = density.distance(kind, test, fitted)
    known, queries = ((x / x.norm(dim=1, keepdim=True)).double().numpy() for x in (train, test))
    for row, one in enumerate(queries):
        if kind == "gaussian":
            rest = one - known.mean(0)
            expected = np.sqrt(rest @ np.linalg.inv(LedoitWolf().fit(known).covariance_) @ rest)
        else:
            gamma = 0.5 if kind == "kde_unit" else 10 / (known.var() * 4)
            expected = -np.log(np.mean([np.exp(-gamma * ((one - k) ** 2).sum()) for k in known])) / gamma
        assert float(actual[row]) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(density.distance(kind, 3 * test, fitted), actual)  # lengths do not matter
    if kind == "kde":
        return  # its gamma depends on the axes
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator(2)))[0]
    turned = density.distance(kind, test @ turn, density.fit_density(kind, train @ turn))
    torch.testing.assert_close(turned, actual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_ml", "kde"])
@pytest.mark.parametrize("together", [1, 3, 7, 50])
def test_positions_are_fitted_a_few_at_a_time(monkeypatch, kind: str, together: int) -> None:
    """Densities do not depend on how many positions are fitted together, and temporary tensors stay small."""
    places, count, width = 23, 9, 6
    features = torch.randn(places, count, width, generator=generator())
    apart = [density.fit_density(kind, one) for one in features]
    sizes: list[int] = []
    original = density.unit_length

    def spy(part: Tensor) -> Tensor:
        sizes.append(part.numel() // (count * width))
        return original(part)

    monkeypatch.setattr(density, "unit_length", spy)
    monkeypatch.setattr(density, "CHUNK", 8 * together * width * max(width, count))
    fitted = density.fit_density(kind, features)
    assert sum(sizes) == places
    assert max(sizes) == min(together, places)
    for part, values in fitted.items():
        torch.testing.assert_close(values, torch.stack([one[part] for one in apart]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("count", [54, 381])  # toothbrush, hazelnut
def test_one_density_a_position_is_allowed_at_the_papers_size(side: int, count: int) -> None:
    places = patches.window_places(256, side, 4) ** 2
    assert places == {32: 57, 64: 49}[side] ** 2
    assert density.fitted_bytes("gaussian", places, count, 512) < density.LARGEST
    assert density.fitted_bytes("gaussian", places, count, 512) == 8 * places * 512**2
    assert density.fitted_bytes("kde", places, count, 512) == 8 * places * count * 512


def test_features_without_a_density(monkeypatch) -> None:
    same = torch.ones(5, 3)
    with pytest.raises(ReproodError, match="the same features"):
        density.fit_density("gaussian", same)
    with pytest.raises(ReproodError, match="no variance"):
        density.fit_density("kde", torch.zeros(5, 3))
    with pytest.raises(ReproodError, match="two or more finite"):
        density.fit_density("gaussian", torch.full((5, 3), torch.nan))
    with pytest.raises(ReproodError, match="two or more finite"):
        density.fit_density("gaussian", same[:1])
    monkeypatch.setattr(density, "LARGEST", 100)
    with pytest.raises(ReproodError, match="larger stride"):
        density.fit_density("gaussian", torch.rand(2, 5, 3))


# --- windows ---


def test_windows_by_hand() -> None:
    images = torch.rand(3, 2, 10, 10, generator=generator())
    top, left = torch.tensor([[0, 4], [1, 2], [5, 0]]), torch.tensor([[0, 5], [3, 3], [1, 1]])
    actual = patches.windows_at(images, top, left, 5)
    assert actual.shape == (3, 2, 2, 5, 5)
    for i in range(3):
        for j in range(2):
            y, x = int(top[i, j]), int(left[i, j])
            assert torch.equal(actual[i, j], images[i, :, y : y + 5, x : x + 5])
    drawn = patches.random_windows(images.repeat(50, 1, 1, 1), 9, generator())
    assert len(torch.unique(drawn.flatten(1), dim=0)) == 3 * 4
    assert torch.equal(patches.random_windows(images, 10, generator()), images)
    with pytest.raises(ReproodError, match="lower 'crop'"):
        patches.random_windows(images, 11, generator())
    for side, stride in ((4, 4), (12, 1)):
        with pytest.raises(ReproodError, match="do not tile"):
            patches.window_places(10, side, stride)


def test_windows_features_and_maps_by_hand() -> None:
    config = settings(crop=8, stride=4, windows=0, densities=("gaussian", "kde"))
    model = network(config)
    train, test = seen(stripes(9).images), seen(stripes(4, seed=3).images)
    fitted = fitted_to(model, train, config)
    places = [(y, x) for y in (0, 4, 8) for x in (0, 4, 8)]

    def cut(images: Tensor) -> Tensor:
        return torch.stack([model.features(images[:, :, y : y + 8, x : x + 8]).detach() for y, x in places], 1)

    expected = density.fit_density("gaussian", cut(train).flatten(0, 1))
    torch.testing.assert_close(fitted["gaussian_mean"], expected["gaussian_mean"])
    far = density.distance("gaussian", cut(test), expected).view(4, 3, 3)
    kernel, whole = patches.gaussian_kernel(8), torch.zeros(4, 16, 16, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            whole[:, 4 * i : 4 * i + 8, 4 * j : 4 * j + 8] += far[:, i, j, None, None] * kernel
    actual = method.anomaly_maps(model, test, config, fitted)
    torch.testing.assert_close(actual, whole, rtol=1e-4, atol=1e-5)
    scores = method.scores(model, test, config, fitted)
    assert list(scores) == ["gaussian", "kde"]
    torch.testing.assert_close(scores["gaussian"], -far.amax((1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("corner", [(0, 0), (0, 8), (8, 8)])
@pytest.mark.parametrize("positions", ["shared", "each"])
def test_one_strange_window_decides_the_score(corner: tuple[int, int], positions: str) -> None:
    """Wherever it is: the map has less mass at borders, the image's score is the window's distance."""
    config = settings(crop=8, stride=8, windows=0, densities=("gaussian",), positions=positions)
    model = network(config)
    image = seen(stripes(1, seed=3).images)
    fitted = fitted_to(model, seen(stripes(9).images), config)
    y, x = corner
    image[:, :, y : y + 8, x : x + 8] = 30.0
    top, left = patches.all_corners(16, 8, 8, torch.device("cpu"))
    features = windows_features(model, image, top[None], left[None], 8).detach()
    far = density.distance("gaussian", features, fitted)[0]
    assert float(method.scores(model, image, config, fitted)["gaussian"]) == pytest.approx(-float(far.max()))
    assert (int(top[far.argmax()]), int(left[far.argmax()])) == corner


def test_groups_of_windows_do_not_matter(monkeypatch) -> None:
    from reprood.methods.cutpaste import scores as cutpaste_scores

    config = settings(crop=8, stride=4)
    model = network(config)
    test = seen(stripes(5, seed=3).images)
    fitted = fitted_to(model, seen(stripes(9).images), config)
    whole = method.anomaly_maps(model, test, config, fitted)
    monkeypatch.setattr(cutpaste_scores, "WINDOWS", 20)
    monkeypatch.setattr(cutpaste_scores, "FORWARD", 7)
    torch.testing.assert_close(method.anomaly_maps(model, test, config, fitted), whole, rtol=1e-5, atol=1e-6)


def test_windows_of_the_density() -> None:
    model = network(settings())
    images = seen(stripes(7).images)
    for windows, count in ((4, 28), (0, 63), (100, 63)):
        fitted = fitted_to(model, images, settings(crop=8, stride=4, windows=windows, densities=("kde",)))
        assert fitted["kde_bank"].shape == (count, 8)
    some = settings(crop=8, stride=4, windows=4, densities=("kde",))
    assert torch.equal(fitted_to(model, images, some)["kde_bank"], fitted_to(model, images, some)["kde_bank"])
    other = fitted_to(model, images, some, seed=1)["kde_bank"]
    assert not torch.equal(fitted_to(model, images, some)["kde_bank"], other)
    each = settings(crop=8, stride=4, positions="each")
    fitted = fitted_to(model, images, each)
    assert fitted["gaussian_mean"].shape == (9, 8)
    top, left = torch.tensor([4]).expand(7, 1), torch.tensor([8]).expand(7, 1)
    own = density.fit_density("gaussian", windows_features(model, images, top, left, 8)[:, 0].detach())
    torch.testing.assert_close(fitted["gaussian_mean"][5], own["gaussian_mean"])
    assert method.scores(model, images, each, fitted)["gaussian"].shape == (7,)
    alone = settings(positions="each")  # whole images have one position
    assert fitted_to(model, images, alone)["gaussian_mean"].shape == (8,)


# --- views ---


@pytest.mark.parametrize("proxy", PROXIES)
def test_views(proxy: str) -> None:
    config = settings(proxy)
    images = stripes(40).images
    shown, answers = method.views(images, config, generator())
    count = OUTPUTS[proxy]
    assert shown.shape == (40 * count, 1, 16, 16)
    assert shown.dtype == torch.uint8
    assert answers.tolist() == [k for k in range(count) for _ in range(40)]
    assert torch.equal(shown[:40], images)
    assert torch.equal(method.views(images, config, generator())[0], shown)
    if proxy == "rotation":
        assert torch.equal(shown[40:80], torch.rot90(images, 1, (2, 3)))
        return
    changed = (shown[40:] != images.repeat(count - 1, 1, 1, 1)).flatten(1).double().mean(1)
    assert float((changed > 0).double().mean()) > 0.9
    assert float(changed.max()) < 0.25


def test_union_is_one_of_the_two() -> None:
    images = stripes(60).images
    two = method.views(images, settings("3way"), generator())[0]
    one = method.views(images, settings("union"), generator())[0][60:]
    large, thin = ((one == part).flatten(1).all(1) for part in (two[60:120], two[120:]))
    assert bool((large | thin).all())
    assert 15 < int(thin.sum()) < 45


def test_base_images() -> None:
    images = stripes(30).images
    still = settings(jitter=0, translation=0)
    assert torch.equal(method.base_images(images, still, generator()), images)
    moved = method.base_images(images, settings(jitter=0, translation=0.125), generator())
    inner = {
        (y, x): (moved[:, :, 2 + y : 14 + y, 2 + x : 14 + x] == images[:, :, 2:14, 2:14]).flatten(1).all(1)
        for y in range(-2, 3)
        for x in range(-2, 3)
    }
    assert bool(torch.stack(list(inner.values())).any(0).all())
    assert sum(bool(actual.any()) for actual in inner.values()) > 12
    assert method.base_images(images, settings(crop=8), generator()).shape == (30, 1, 8, 8)
    levels = method.base_images(images, settings(translation=0), generator()).double().mean((1, 2, 3))
    share = levels / images.double().mean((1, 2, 3))
    assert 0.88 < float(share.min()) < 0.95
    assert 1.05 < float(share.max()) < 1.12


@pytest.mark.parametrize("proxy", [*PROXIES, "none"])
def test_illustrations(proxy: str) -> None:
    images = seen(stripes(12).images)
    config = settings(proxy)
    shown = method.illustrate(images, config, generator())
    assert shown.shape == images.shape
    assert torch.equal(shown, method.illustrate(images, config, generator()))
    assert torch.equal(shown, images) == (proxy == "none")


# --- scores and maps of whole images ---


@pytest.mark.parametrize("proxy", [*PROXIES, "none"])
def test_scores(proxy: str) -> None:
    config = settings(proxy)
    model = network(config)
    train, test = seen(stripes(9).images), seen(stripes(4, seed=3).images)
    fitted = fitted_to(model, train, config)
    actual = method.scores(model, test, config, fitted)
    assert list(actual) == ["gaussian", "gaussian_ml", "kde", *(["proxy"] if proxy != "none" else [])]
    assert all(values.dtype == torch.float64 and values.shape == (4,) for values in actual.values())
    features = model.features(test).detach()
    torch.testing.assert_close(actual["gaussian"], -density.distance("gaussian", features, fitted))
    alone = method.scores(model, test[1:2], config, fitted)
    for name, values in alone.items():
        torch.testing.assert_close(values, actual[name][1:2], rtol=1e-4, atol=1e-6)
    maps = method.anomaly_maps(model, test, config, fitted)
    assert maps.shape == (4, 16, 16)
    assert bool(torch.isfinite(maps).all())


def test_proxy_scores_by_hand() -> None:
    images = seen(stripes(3).images)
    model = network(settings("3way"))
    p = model.proxy_logits(images).detach().double().softmax(1)
    torch.testing.assert_close(proxy_score(model, images, settings("3way")).detach(), (p[:, 0] / (1 - p[:, 0])).log())
    turning = settings("rotation")
    model = network(turning)
    expected = sum(
        model.proxy_logits(torch.rot90(images, k, (2, 3))).detach().double().softmax(1)[:, k] for k in range(4)
    )
    torch.testing.assert_close(proxy_score(model, images, turning).detach(), expected)
    assert float(log_odds_normal(torch.tensor([[0.0, 0.0, 0.0]]))) == pytest.approx(-np.log(2))


def test_grad_cam_by_differences() -> None:
    """Gradients towards every position of the maps, by differences."""
    maps = torch.rand(2, 3, 4, 4, generator=generator(), dtype=torch.float64)

    def anomaly(pooled: Tensor) -> Tensor:
        return (pooled * torch.tensor([1.0, -2.0, 3.0])).sum(1).exp() + pooled[:, 0] ** 2

    weights, step = torch.zeros(2, 3, dtype=torch.float64), 1e-6
    for channel in range(3):
        for place in range(16):
            moved = maps.clone()
            moved[:, channel].view(2, 16)[:, place] += step
            weights[:, channel] += (anomaly(moved.mean((2, 3))) - anomaly(maps.mean((2, 3)))) / step / 16
    expected = torch.relu((weights[:, :, None, None] * maps).sum(1))
    torch.testing.assert_close(grad_cam(maps, anomaly, 4), expected, rtol=1e-4, atol=1e-6)
    assert grad_cam(maps, anomaly, 8).shape == (2, 8, 8)
    with torch.no_grad():
        assert float(grad_cam(maps, anomaly, 4).max()) > 0


def test_maps_of_either_kind() -> None:
    images = seen(stripes(5).images)
    assert Config().cam == "density"
    for config in (settings(), settings(cam="classifier")):
        torch.manual_seed(0)
        model = CutPaste(wrn(1, depth=10, width=0.25), 1, config).eval().requires_grad_(False)
        fitted = fitted_to(model, images, config)
        actual = method.anomaly_maps(model, images, config, fitted)
        assert actual.shape == (5, 16, 16)
        assert bool((actual >= 0).all())
        assert torch.is_grad_enabled()
    model = network(settings())
    model.backbone = nn.Flatten()
    with pytest.raises(ReproodError, match="has no maps"):
        model.maps(images)


# --- training ---


def bits(model: nn.Module) -> dict[str, bytes]:
    return {key: value.detach().numpy().tobytes() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("proxy", PROXIES)
def test_training_runs_and_repeats(tmp_path: Path, proxy: str) -> None:
    config = settings(proxy, crop=12 if proxy == "3way" else 0)
    model, rows = method.train(one_class(), config, run(tmp_path / "a"))
    again, history = method.train(one_class(), config, run(tmp_path / "b"))
    assert bits(model) == bits(again)
    assert rows == history
    assert [row["phase"] for row in rows] == ["train", "train"]
    assert 0 <= rows[-1]["validation_proxy_error"] <= 100
    images = seen(stripes(3).images)
    assert torch.equal(model(images), torch.zeros(3, 1))
    assert model.linear_head() is None
    assert model.features(images).shape == (3, 8)


def test_epochs_of_a_chosen_length(tmp_path: Path) -> None:
    """Every image is shown equally often, but for the rest; 0: the training set once."""
    shown: list[Tensor] = []
    original = method.base_images

    def spy(images: Tensor, config: Config, source: Generator) -> Tensor:
        shown.append(images.clone())
        return original(images, config, source)

    task = one_class(10, monitor={})
    for length, counts in ((24, {2, 3}), (0, {0, 1}), (40, {4})):
        shown.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(method, "base_images", spy)
            config = settings(epoch_images=length, training={"epochs": 1})
            method.train(task, config, run(tmp_path / str(length)))
        every = torch.cat(shown)
        times = [int((every == image).flatten(1).all(1).sum()) for image in task.train.images]
        assert set(times) == counts
        assert len(every) == (length or 8)


def test_the_proxy_task_is_learnt_and_finds_defects(tmp_path: Path) -> None:
    """Blots in a smooth pattern: the trained features tell them, an untrained network's less so."""
    task = one_class(40, 24, backbone=lambda: wrn(1, depth=10, width=0.5))
    good, bad = stripes(30, 24, 7).images, stripes(30, 24, 8).images.clone()
    for row in range(30):
        y, x = 3 + row % 12, 2 + (5 * row) % 13
        bad[row, :, y : y + 6, x : x + 6] = bad[row, :, y : y + 6, x : x + 6].flip(1, 2)
    actual = {}
    for proxy in ("none", "3way"):
        config = settings(proxy, epoch_images=160, translation=0, training={"epochs": 5, "batch_size": 16, "lr": 0.05})
        model, rows = method.train(task, config, run(tmp_path / proxy))
        fitted = fitted_to(model, seen(task.train.images), config)
        inside, outside = (method.scores(model, seen(x), config, fitted)["gaussian"] for x in (good, bad))
        actual[proxy] = float((inside[:, None] > outside).double().mean())
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["validation_proxy_error"] < 50
    assert actual["3way"] > 0.8


def test_without_a_proxy_task_nothing_is_trained(tmp_path: Path) -> None:
    config = settings("none")
    model, rows = method.train(one_class(), config, run(tmp_path))
    assert rows == []
    assert model.head is None
    assert not model.training
    again, _ = method.train(one_class(), config, run(tmp_path / "again"))
    other, _ = method.train(one_class(), config, run(tmp_path / "other", root_seed=8))
    assert bits(model) == bits(again) != bits(other)
    built = method.build(config, Net(1), 1)
    built.load_state_dict(model.state_dict())


def test_pretrained(tmp_path: Path, monkeypatch) -> None:
    """Weights are loaded, and images renormalised inside the network."""
    torch.manual_seed(3)
    published = imagenet_resnet.build(3, base=4)
    monkeypatch.setattr(method, "load_imagenet", lambda network: network.load_state_dict(published.state_dict()))
    colour = {
        name: ImageSet(stripes(n, 32).images.repeat(1, 3, 1, 1), torch.zeros(n, dtype=torch.int64))
        for name, n in (("train", 8), ("validation", 4))
    }
    task = replace(
        problem(8, classes=1, channels=3),
        **colour,
        size=32,
        monitor={},
        mean=(0.3, 0.5, 0.6),
        std=(0.1, 0.2, 0.3),
        backbone=lambda: imagenet_resnet.build(3, base=4),
    )
    config = settings("none", pretrained=True)
    model, _ = method.train(task, config, run(tmp_path / "none"))
    images = task.train.images.float() / 255
    ours = (images - torch.tensor(task.mean).view(3, 1, 1)) / torch.tensor(task.std).view(3, 1, 1)
    theirs = (images - torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)) / torch.tensor((0.229, 0.224, 0.225)).view(
        3, 1, 1
    )
    torch.testing.assert_close(model.features(ours), published.eval()(theirs), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.maps(ours).mean((2, 3)), model.features(ours))
    method.build(config, imagenet_resnet.build(3, base=4), 1).load_state_dict(model.state_dict())


def pretrained_problem(backbone, size: int = 32) -> Problem:
    colour = ImageSet(stripes(8, size).images.repeat(1, 3, 1, 1), torch.zeros(8, dtype=torch.int64))
    sets = {"train": colour, "validation": colour, "monitor": {}, "size": size, "backbone": backbone}
    return replace(problem(8, classes=1, channels=3), **sets)


def parts(model: CutPaste, state: dict[str, Tensor]) -> dict[str, bool]:
    """Whether convolutions, and parameters and statistics of batch norms of the backbone, have their first values."""
    kinds: dict[str, list[bool]] = {"convolutions": [], "norms": [], "statistics": []}
    for name, values in model.backbone.state_dict().items():
        kind = "convolutions" if values.dim() > 1 else "statistics" if "running" in name else "norms"
        if "num_batches" not in name:
            kinds[kind].append(torch.equal(values, state[name]))
    return {kind: all(equal) if all(equal) == any(equal) else "some" for kind, equal in kinds.items()}


@pytest.mark.parametrize("frozen_norm", [True, False])
def test_the_head_is_trained_first_then_all_layers(tmp_path: Path, monkeypatch, frozen_norm: bool) -> None:
    """Two stages with a recipe each; batch norms of the backbone stay as published if frozen."""
    torch.manual_seed(3)
    published = imagenet_resnet.build(3, base=4).state_dict()
    monkeypatch.setattr(method, "load_imagenet", lambda network: network.load_state_dict(published))
    task = pretrained_problem(lambda: imagenet_resnet.build(3, base=4))
    first = {**Config().head_training.model_dump(), "epochs": 3, "batch_size": 4, "lr": 0.02}
    config = settings("3way", training={"epochs": 2, "lr": 0.001}, head_training=first, pretrained=True,
                      frozen_norm=frozen_norm)  # fmt: skip
    seen_states, original = [], method.fit

    def spy(model: CutPaste, *args: Any, **options: Any) -> list[dict[str, Any]]:
        rows = original(model, *args, **options)
        state = {name: values.clone() for name, values in model.head.state_dict().items()}
        seen_states.append((parts(model, published), state, args[2]))
        return rows

    monkeypatch.setattr(method, "fit", spy)
    model, rows = method.train(task, config, run(tmp_path))
    (after_head, head, head_recipe), (after_all, last, recipe) = seen_states
    assert (head_recipe, recipe) == (config.head_training, config.training)
    assert after_head == {"convolutions": True, "norms": True, "statistics": frozen_norm}
    assert after_all == {"convolutions": False, "norms": frozen_norm, "statistics": frozen_norm}
    moved = [name for name in head if not torch.equal(head[name], last[name])]
    assert any("running" in name for name in moved)  # the head's own batch norm is trained
    assert [(row["phase"], row["lr"]) for row in rows if row["epoch"] == 1] == [("head", 0.02), ("train", 0.001)]
    assert [sum(row["phase"] == name for row in rows) for name in ("head", "train")] == [3, 2]
    again, _ = method.train(task, config, run(tmp_path / "again"))
    assert bits(model) == bits(again)


def test_default_recipe_of_the_transfer() -> None:
    """A.4: the head for 2,560 updates of 24 views at 0.03, then all layers for 16,384 at 1e-4."""
    first, views = Config().head_training, 3
    assert (first.lr, first.momentum, first.weight_decay, first.batch_size * views) == (0.03, 0.9, 3e-5, 24)
    assert first.epochs * first.steps(2048) == 2560
    assert first.model_copy(update={"epochs": 64}).steps(2048) * 64 == 16384
    assert Config().frozen_norm
    assert not CutPaste(Mapped(1), 1, settings()).frozen_norm  # of a network from scratch nothing is frozen


def test_features_of_a_level() -> None:
    """The densities and Grad-CAM use the level, the proxy task the pooled output."""
    torch.manual_seed(0)
    backbone = efficientnet.build(3, variant="b0")
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    images = torch.randn(3, 3, 64, 64, generator=generator())
    last, inner = (CutPaste(backbone, 1, settings(level=level)).eval() for level in (None, 7))
    inner.head = last.head
    torch.testing.assert_close(inner.features(images), backbone.levels[:7](images).mean((2, 3)))
    torch.testing.assert_close(last.features(images), backbone(images))
    torch.testing.assert_close(inner.proxy_logits(images), last.proxy_logits(images))
    for model in (last, inner):
        assert model.features(images).shape == (3, model.width)
        torch.testing.assert_close(model.maps(images).mean((2, 3)), model.features(images))
    fitted = fitted_to(inner, images, settings(level=7))
    assert fitted["gaussian_mean"].shape == (192,)
    assert method.anomaly_maps(inner, images, settings(level=7), fitted).shape == (3, 64, 64)
    for other, level in ((Mapped(1), 1), (backbone, 10)):
        with pytest.raises(ReproodError, match=f"no level {level} of features; use the backbone efficientnet"):
            CutPaste(other, 1, settings(level=level))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ReproodError, match="given 3 classes"):
        method.train(problem(12), settings(), run(tmp_path))
    with pytest.raises(ReproodError, match="do not fit into 16 x 16"):
        method.train(one_class(), settings(scar_height=(10, 25)), run(tmp_path))
    with pytest.raises(ReproodError, match="no ImageNet weights for the network Net"):
        method.train(one_class(), settings(pretrained=True), run(tmp_path))
    wrong = (
        ({"training": Training(augment="flip")}, "its own augmentations"),
        ({"head_training": Training(augment="flip")}, "its own augmentations"),
        ({"proxy": "none", "cam": "classifier"}, "set cam to density"),
        ({"densities": ()}, "one or more"),
        ({"densities": ("kde", "kde")}, "none twice"),
        ({"area": (0.5, 0.2)}, "smaller first"),
        ({"aspect": (1.5, 2.0)}, "both sides of 1"),
        ({"hidden": (0,)}, "1 or more"),
        ({"speed": 1}, "Extra inputs"),
    )
    for values, message in wrong:
        with pytest.raises(ValidationError, match=message):
            Config.model_validate(values)


class Stopped(Exception):
    pass


def test_stopped_anywhere_ends_in_the_same_bits(tmp_path: Path, monkeypatch) -> None:
    from reprood.engine import state as module

    config = settings("3way", crop=12)
    whole, history = method.train(one_class(), config, run(tmp_path / "whole"))
    original, left = module.save_checkpoint, [2]

    def save(path: Path, record: dict) -> None:
        original(path, record)
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    monkeypatch.setattr(module, "save_checkpoint", save)
    job = run(tmp_path / "stopped", checkpoint_seconds=0)
    with pytest.raises(Stopped):
        method.train(one_class(), config, job)
    monkeypatch.undo()
    again, rows = method.train(one_class(), config, job)
    assert bits(again) == bits(whole)
    assert rows == history
