"""FGSM and PGD: closed forms of a linear model, balls, restarts, and what must stay untouched."""

import pytest
import torch
from tiny_problem import Net
from torch import Tensor, nn

from reprood.attacks.losses import cross_entropy, kl_divergence, margin
from reprood.attacks.projected import attack_labels, fgsm, gradient, pgd, project, start_noise
from reprood.core.errors import ReproodError

NORMS = ("linf", "l2")
DTYPES = (torch.float32, torch.float64)
LABELS = torch.arange(7) % 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(dtype: torch.dtype = torch.float32, count: int = 7, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, 8, 8, generator=seeded(), dtype=dtype)


def network(channels: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(Net(channels), nn.Linear(8, 3))
    with torch.no_grad():
        model[1].weight.mul_(20)
    return model.eval()


def lengths(change: Tensor, norm: str) -> Tensor:
    flat = change.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_model_linf(dtype: torch.dtype) -> None:
    """The optimum in the box is its corner, images + eps * sign(weights): FGSM is there at once, PGD in the end."""
    images, weights = pictures(dtype), torch.randn(3, 8, 8, generator=seeded(1), dtype=dtype)

    def objective(changed: Tensor) -> Tensor:
        return (changed * weights).sum()

    optimum = (images + 0.1 * weights.sign()).clamp(0, 1)
    assert torch.equal(fgsm(objective, images, eps=0.1), optimum)
    noise = start_noise(images, 0.1, "linf", seeded(2))
    found = pgd(objective, images, eps=0.1, step=0.02, steps=11, noise=noise)
    torch.testing.assert_close(found, optimum, rtol=0, atol=1e-6)
    assert found.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_model_l2(dtype: torch.dtype) -> None:
    """Where no pixel is cut, the optimum is images + eps * weights / ||weights||."""
    images = 0.25 + pictures(dtype) / 2
    weights = torch.randn(3, 8, 8, generator=seeded(1), dtype=dtype)

    def objective(changed: Tensor) -> Tensor:
        return (changed * weights).sum()

    optimum = images + 0.2 * weights / weights.norm()
    torch.testing.assert_close(fgsm(objective, images, eps=0.2, norm="l2"), optimum)
    noise = start_noise(images, 0.2, "l2", seeded(2))
    found = pgd(objective, images, eps=0.2, step=0.1, steps=60, norm="l2", noise=noise)
    torch.testing.assert_close(found, optimum, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_linear_model_never_loses(norm: str) -> None:
    images, weights = pictures(), torch.randn(3, 8, 8, generator=seeded(1))

    def values(changed: Tensor) -> Tensor:
        return (changed * weights).flatten(1).sum(1)

    noise = start_noise(images, 0.1, norm, seeded(2))
    before = values(project(images + noise, images, 0.1, norm))
    for steps in (1, 2, 5):
        found = pgd(
            lambda changed: values(changed).sum(), images, eps=0.1, step=0.01, steps=steps, norm=norm, noise=noise
        )
        assert (values(found) > before).all()
        before = values(found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
def test_ball_and_pixel_range(norm: str, dtype: torch.dtype) -> None:
    images, labels, model = pictures(dtype), LABELS, network().to(dtype)
    images[0, 0], images[1, 0] = 0, 1
    eps = {"linf": 0.05, "l2": 0.8}[norm]
    for start in ("none", "uniform", "gaussian"):
        found = attack_labels(
            model, images, labels, eps=eps, step=eps / 3, steps=6, generator=seeded(), norm=norm, start=start
        )
        moved = lengths(found - images, norm)
        assert moved.max() <= eps * (1 + 1e-5)
        assert moved.min() > eps / 2
        assert found.min() >= 0
        assert found.max() <= 1
        assert found.dtype == dtype
    single = fgsm(lambda changed: cross_entropy(model(changed), labels).sum(), images, eps=eps, norm=norm)
    assert lengths(single - images, norm).max() <= eps * (1 + 1e-5)
    assert single.min() >= 0
    assert single.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_projection_by_hand(norm: str) -> None:
    centre, away = pictures(), pictures().flip(0) - 0.5
    found = project(centre + away, centre, 0.3, norm)
    for image, middle, move in zip(found, centre, away):
        if norm == "linf":
            inside = middle + move.clamp(-0.3, 0.3)
        else:
            inside = middle + move * min(1.0, 0.3 / move.norm().item())
        torch.testing.assert_close(image, inside.clamp(0, 1))
    assert torch.equal(project(centre, centre, 0.3, norm), centre)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_radius_changes_nothing(norm: str) -> None:
    images, model = pictures(), network()
    found = attack_labels(model, images, LABELS, eps=0, step=0.1, steps=3, generator=seeded(), norm=norm)
    assert torch.equal(found, images)
    assert torch.equal(fgsm(lambda changed: model(changed).sum(), images, eps=0, norm=norm), images)


@pytest.mark.parametrize("norm", NORMS)
def test_the_attack_works(norm: str) -> None:
    images, model = pictures(), network()
    labels = model(images).argmax(1)
    eps = {"linf": 0.1, "l2": 1.0}[norm]

    def height(changed: Tensor) -> Tensor:
        return cross_entropy(model(changed), labels).detach().mean()

    single = fgsm(lambda changed: cross_entropy(model(changed), labels).sum(), images, eps=eps, norm=norm)
    several = attack_labels(model, images, labels, eps=eps, step=eps / 4, steps=20, generator=seeded(), norm=norm)
    assert height(images) < height(single) < height(several) + 1e-6
    assert (model(several).argmax(1) != labels).any()


def test_each_image_is_attacked_alone() -> None:
    images, model = pictures(torch.float64), network().double()

    def attacked(rows: slice) -> Tensor:
        def objective(changed: Tensor) -> Tensor:
            return margin(model(changed), LABELS[rows]).sum()

        return pgd(objective, images[rows], eps=0.5, step=0.1, steps=5, norm="l2")

    torch.testing.assert_close(attacked(slice(2, 3)), attacked(slice(None))[2:3])


@pytest.mark.parametrize("norm", NORMS)
def test_determinism(norm: str) -> None:
    images, model = pictures(), network()
    state = torch.get_rng_state()

    def attacked(seed: int) -> Tensor:
        return attack_labels(
            model, images, LABELS, eps=0.1, step=0.01, steps=2, generator=seeded(seed), norm=norm, restarts=2
        )

    assert torch.equal(attacked(3), attacked(3))
    assert not torch.equal(attacked(3), attacked(4))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_restarts_are_never_weaker(norm: str, loss: str) -> None:
    images, model = pictures(), network()
    labels = model(images).argmax(1)
    function = {"ce": cross_entropy, "margin": margin}[loss]
    eps = {"linf": 0.03, "l2": 0.2}[norm]
    previous = None
    for restarts in (1, 2, 6):
        found = attack_labels(
            model,
            images,
            labels,
            eps=eps,
            step=eps / 4,
            steps=2,
            generator=seeded(),
            norm=norm,
            loss=loss,
            restarts=restarts,
        )
        logits = model(found).detach()
        wrong, height = logits.argmax(1) != labels, function(logits, labels)
        if previous is not None:
            assert (wrong >= previous[0]).all()
            same = wrong == previous[0]
            assert (height[same] >= previous[1][same]).all()
            assert (height[same] > previous[1][same]).any()
        previous = wrong, height


def test_a_misclassified_image_is_worse_than_a_higher_loss() -> None:
    """With three classes the cross-entropy may be lower where the wrong class wins: 0.83 against 0.92 here."""
    answers = {0: torch.tensor([[1.0, 0.8, 0.7]]).repeat(2, 1), 1: torch.tensor([[1.0, 1.1, -0.9]]).repeat(2, 1)}
    calls: list[int] = []

    def classify(images: Tensor) -> Tensor:
        calls.append(0)
        restart = (len(calls) - 1) // 2  # one step and one evaluation per restart
        return answers[restart % 2] + 0 * images.flatten(1).sum(1, keepdim=True)

    labels = torch.zeros(2, dtype=torch.int64)
    assert cross_entropy(answers[0], labels)[0] > cross_entropy(answers[1], labels)[0]
    images = pictures(count=2)
    found = attack_labels(classify, images, labels, eps=0.1, step=0.1, steps=1, generator=seeded(), restarts=3)
    generator = seeded()
    starts = [images + start_noise(images, 0.1, "linf", generator) for _ in range(3)]
    assert torch.equal(found, starts[1].clamp(0, 1))


def test_parameters_and_statistics_stay_untouched() -> None:
    images, model = pictures(), network()
    model[1].weight.grad = torch.ones_like(model[1].weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        found = attack_labels(model, images, LABELS, eps=0.1, step=0.1, steps=2, generator=seeded(), restarts=2)
    fgsm(lambda changed: model(changed).sum(), images, eps=0.1)
    assert not found.requires_grad
    assert not images.requires_grad
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert torch.equal(grads.pop("1.weight"), torch.ones_like(model[1].weight))
    assert all(grad is None for grad in grads.values())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("inside", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("outside", [torch.contiguous_format, torch.channels_last])
def test_memory_format_is_kept(norm: str, inside: torch.memory_format, outside: torch.memory_format) -> None:
    model = network()
    images = pictures().contiguous(memory_format=outside)

    def attacked(images: Tensor) -> Tensor:
        def classify(changed: Tensor) -> Tensor:
            return model(changed.contiguous(memory_format=inside))

        given = {"eps": 0.1, "step": 0.05, "steps": 2, "norm": norm}
        return attack_labels(classify, images, LABELS, generator=seeded(), restarts=2, **given)

    found = attacked(images)
    assert found.stride() == images.stride()
    torch.testing.assert_close(found, attacked(pictures()))


def test_starts() -> None:
    images = pictures(count=2000, channels=1)
    assert not start_noise(images, 0.1, "linf", seeded(), "none").any()
    flat = start_noise(images, 0.1, "linf", seeded())
    assert flat.abs().max() <= 0.1
    assert flat.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.01)
    round_ = start_noise(images, 0.1, "l2", seeded())
    assert lengths(round_, "l2").max() <= 0.1 * (1 + 1e-6)
    assert lengths(round_, "l2").mean().item() == pytest.approx(0.05, rel=0.05)
    assert round_.mean((0, 2, 3)).abs().max() < 1e-3
    for norm in NORMS:
        assert start_noise(images, 0.1, norm, seeded(), "gaussian").std().item() == pytest.approx(1e-3, rel=0.01)


def test_start_may_be_cut_first() -> None:
    seen: list[Tensor] = []

    def objective(changed: Tensor) -> Tensor:
        seen.append(changed.detach())
        return changed.sum()

    images = torch.ones(1, 1, 2, 2)
    for clip in (False, True):
        pgd(objective, images, eps=0.1, step=0.1, steps=1, noise=torch.full_like(images, 0.05), clip_start=clip)
    assert seen[0].max() > 1
    assert seen[1].max() == 1


def test_a_ball_around_the_noised_images_reaches_further() -> None:
    images = torch.full((1, 1, 2, 2), 0.5)
    noise = torch.full_like(images, 0.1)
    for centre, reach in ((None, 0.1), (images + noise, 0.2)):
        found = pgd(lambda changed: changed.sum(), images, eps=0.1, step=0.05, steps=9, noise=noise, centre=centre)
        torch.testing.assert_close(found, images + reach)


def test_tiny_gradients_still_give_a_direction() -> None:
    images = torch.full((2, 1, 2, 2), 0.5)
    found = pgd(lambda changed: 1e-30 * changed[0].sum(), images, eps=0.1, step=0.1, steps=1, norm="l2")
    torch.testing.assert_close(found[0], images[0] + 0.05)
    assert torch.equal(found[1], images[1])  # no gradient, no step


def test_gradient() -> None:
    images = pictures(torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(gradient(lambda changed: changed.square().sum(), images), 2 * images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, "at least 0"),
        ({"steps": 0}, "at least one step"),
        ({"step": 0.0}, "a size above 0"),
        ({"noise": torch.zeros(3, 8, 8)}, "noise of an attack is torch.float32"),
        ({"centre": pictures(torch.float64)}, "centre of an attack is torch.float64"),
    ],
)
def test_arguments_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    given = {"eps": 0.1, "step": 0.1, "steps": 1, **changes}
    with pytest.raises(ReproodError, match=message):
        pgd(lambda changed: changed.sum(), pictures(), **given)


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(ReproodError, match="to_float"):
        fgsm(lambda changed: changed.sum(), torch.zeros(1, 1, 2, 2, dtype=torch.uint8), eps=0.1)


def test_restarts_need_a_random_start() -> None:
    with pytest.raises(ReproodError, match="random start"):
        attack_labels(
            network(), pictures(), LABELS, eps=0.1, step=0.1, steps=1, generator=seeded(), start="none", restarts=2
        )


@pytest.mark.parametrize("norm", NORMS)
def test_attacks_do_not_depend_on_the_precision_of_the_training(norm: str) -> None:
    """Under autocast the network runs in bf16, but an attack on it has the bits of one without autocast."""
    model, images = network(), pictures()
    noise = start_noise(images, 0.1, norm, seeded(2), "gaussian")
    with torch.no_grad():
        clean = model(images)

    def objective(changed: Tensor) -> Tensor:
        return kl_divergence(model(changed), clean).sum()

    def attacks() -> list[Tensor]:
        return [
            pgd(objective, images, eps=0.1, step=0.03, steps=3, norm=norm, noise=noise),
            fgsm(lambda changed: cross_entropy(model(changed), LABELS).sum(), images, eps=0.1, norm=norm),
            attack_labels(
                model, images, LABELS, eps=0.1, step=0.03, steps=3, norm=norm, generator=seeded(), restarts=2
            ),
        ]

    expected = attacks()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(images).dtype == torch.bfloat16
        found = attacks()
        assert model(images).dtype == torch.bfloat16
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_the_start_is_clipped_on_request() -> None:
    """The objective sees the start in its first step: outside of [0, 1] unless it is clipped; the result is inside."""
    images = pictures().round()  # black and white: half of the noise leads outside
    lowest: dict[bool, float] = {}
    for clip in (False, True):
        seen: list[float] = []

        def classify(changed: Tensor, seen: list[float] = seen) -> Tensor:
            seen.append(float(changed.detach().min()))
            return changed.flatten(1)[:, :3]

        found = attack_labels(
            classify, images, LABELS, eps=0.1, step=0.02, steps=2, generator=seeded(), clip_start=clip
        )
        lowest[clip] = seen[0]
        assert min(seen[1:]) >= 0
        assert float(found.min()) >= 0
    assert lowest[True] == 0
    assert lowest[False] < -0.05


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip_start", [False, True])
def test_until_wrong_leaves_each_image_at_its_first_misclassified_point(norm: str, clip_start: bool) -> None:
    """The reference takes 1, 2, ... steps from the same start and keeps the first result that is misclassified."""
    model, images = network(), pictures(torch.float64, 24).double()
    model = model.double()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
        labels[:3] = (labels[:3] + 1) % 3  # misclassified before the attack
    eps, step = (0.08, 0.02) if norm == "linf" else (0.8, 0.2)

    def attack(steps: int, until_wrong: bool) -> Tensor:
        return attack_labels(
            model, images, labels, eps=eps, step=step, steps=steps, norm=norm, generator=seeded(3),
            clip_start=clip_start, until_wrong=until_wrong,
        )  # fmt: skip

    def wrong(points: Tensor) -> Tensor:
        with torch.no_grad():
            return model(points).argmax(dim=1) != labels

    start = images + start_noise(images, eps, norm, seeded(3))
    expected, done = start.clamp(0, 1), torch.zeros(24, dtype=torch.bool)
    if clip_start:
        done = wrong(expected)
    for steps in range(1, 7):
        points = attack(steps, until_wrong=False)
        expected = torch.where(done.view(-1, 1, 1, 1), expected, points)
        done |= wrong(points)
    found = attack(6, until_wrong=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert 0 < int(done[3:].sum()) < 21, "some images must be fooled and some must not"
    assert bool((wrong(found) >= wrong(attack(6, until_wrong=False))).all())


def test_until_wrong_stops_the_work_on_misclassified_images() -> None:
    model, images = network(), pictures()
    with torch.no_grad():
        labels = (model(images).argmax(dim=1) + 1) % 3
    sizes = []

    def classify(changed: Tensor) -> Tensor:
        sizes.append(len(changed))
        return model(changed)

    attack_labels(
        classify, images, labels, eps=0.001, step=0.001, steps=9, generator=seeded(), clip_start=True, until_wrong=True
    )
    assert sizes == [7]


def test_until_wrong_does_not_hide_logits_that_are_not_finite() -> None:
    model, images = network(), pictures()
    attacked = attack_labels(
        lambda changed: model(changed) * float("nan"), images, LABELS, eps=0.1, step=0.01, steps=3,
        generator=seeded(), until_wrong=True,
    )  # fmt: skip
    assert bool(attacked.isnan().any())
