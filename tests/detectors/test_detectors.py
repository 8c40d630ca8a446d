"""Detectors: identities, plain re-computations, edge cases, and the table."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.detectors import knn, logits, mahalanobis, odin, react, vim
from reprood.detectors.names import POST_HOC
from reprood.detectors.table import DETECTORS, Known, Stored, parse_options, score_all

CLASSES, WIDTH, CHANNELS = 4, 12, 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Toy(nn.Module):
    """Images [B, 2, 4, 4] -> features [B, 12] -> logits [B, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(CHANNELS * 16, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=10 + i))

    def features(self, images: Tensor) -> Tensor:
        return self.body(images.flatten(1)).relu()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@pytest.fixture(scope="module")
def world() -> tuple[Toy, Known, dict[str, Stored]]:
    model = Toy().eval().requires_grad_(False)

    def stored(count: int, seed: int) -> Stored:
        images = normal(count, CHANNELS, 4, 4, seed=seed)
        return Stored(model(images), model.features(images), lambda: iter(torch.split(images, 7)))

    train = stored(80, 1)
    known = Known(
        train=train,
        labels=torch.arange(80) % CLASSES,
        validation=stored(30, 2),
        head=(model.head.weight, model.head.bias),
        model=model,
        std=torch.tensor([0.5, 0.25]),
    )
    return model, known, {"test": stored(25, 3), "ood": stored(16, 4)}


# --- identities (exact by definition) ---


def test_maxlogit_energy_and_msp_are_ordered() -> None:
    values = 4 * normal(200, 10)
    largest, energy = logits.maxlogit(values), logits.energy(values)
    assert (largest <= energy).all()
    assert (energy <= largest + math.log(10)).all()
    torch.testing.assert_close(logits.msp(values).log(), largest - energy)
    assert ((logits.msp(values) >= 0.1) & (logits.msp(values) <= 1)).all()


def test_odin_without_temperature_and_step_is_msp(world: tuple[Toy, Known, dict[str, Stored]]) -> None:
    model, known, _ = world
    images = normal(9, CHANNELS, 4, 4, seed=5)
    assert torch.equal(odin.odin(model, images, known.std, 1.0, 0.0), logits.msp(model(images)))


@pytest.mark.parametrize("percentile", [0, 10, 85.3, 90, 99.9, 100])
@pytest.mark.parametrize("rows", [1, 2, 7, 333])
def test_react_threshold_is_numpys_percentile(rows: int, percentile: float) -> None:
    features = torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows)).clamp_(min=0)
    assert react.threshold(features, percentile) == np.percentile(features.double().numpy(), percentile)


def test_react_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features, weight = torch.rand((11, 4), generator=generator).double(), torch.rand((3, 4), generator=generator)
    before, whole = features.clone(), react.score(features, weight, torch.zeros(3), 0.5)
    monkeypatch.setattr(react, "ROWS", 3)
    assert torch.allclose(react.score(features, weight, torch.zeros(3), 0.5), whole, rtol=1e-14)
    assert torch.equal(features, before)


def test_react_without_limit_is_energy() -> None:
    features, weight, bias = normal(20, WIDTH).relu(), normal(CLASSES, WIDTH, seed=1), normal(CLASSES, seed=2)
    expected = logits.energy(features.double() @ weight.double().T + bias.double())
    assert torch.equal(react.score(features, weight, bias, math.inf), expected)
    limit = react.threshold(features, 80)
    assert limit == pytest.approx(np.percentile(features.numpy(), 80))
    assert not torch.equal(react.score(features, weight, bias, limit), expected)


# --- against plain computations ---


def test_odin_step_follows_the_definition(world: tuple[Toy, Known, dict[str, Stored]]) -> None:
    model, known, _ = world
    images = normal(6, CHANNELS, 4, 4, seed=6).double()
    model = Toy().double().eval()
    leaf = images.clone().requires_grad_()
    values = model(leaf) / 1000
    loss = nn.functional.cross_entropy(values, values.argmax(1))  # batch mean: only rescales the gradient
    (gradient,) = torch.autograd.grad(loss, leaf)
    step = torch.where(gradient >= 0, 1.0, -1.0).double()
    moved = odin.perturb(model, images, known.std, 1000.0, 0.01)
    torch.testing.assert_close(moved[:, 0], images[:, 0] - 0.01 * step[:, 0] / 0.5)
    torch.testing.assert_close(moved[:, 1], images[:, 1] - 0.01 * step[:, 1] / 0.25)
    raised = odin.odin(model, images, known.std, 1000.0, 1e-5) - odin.odin(model, images, known.std, 1000.0, 0.0)
    assert (raised > 0).all()


def test_odin_counts_zero_gradients_as_positive_and_separates_at_high_temperature() -> None:
    assert odin.signs(torch.tensor([0.0, -0.0, 2.0, -1e-40])).tolist() == [1, 1, 1, -1]
    values = normal(2000, 6)
    single = torch.softmax(values / 1000, dim=1).amax(1)
    assert len(single.unique()) < len(logits.msp(values, 1000.0).unique()) == 2000


def test_odin_chooses_the_step_on_validation_images(world: tuple[Toy, Known, dict[str, Stored]]) -> None:
    model, known, _ = world
    grid = (0.04, 0.0, 0.01)
    chosen = odin.choose_epsilon(model, known.validation.batches, known.std, 10.0, grid)
    means = {
        e: float(torch.cat([odin.odin(model, x, known.std, 10.0, e) for x in known.validation.batches()]).mean())
        for e in grid
    }
    assert chosen == max(sorted(grid), key=lambda e: means[e])
    constant = odin.choose_epsilon(
        lambda x: x.flatten(1)[:, :3] * 0, known.validation.batches, known.std, 1.0, (0.3, 0.1)
    )
    assert constant == 0.1  # all equal: the smallest


def test_mahalanobis_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 300)
    features = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 3 * rng.normal(size=(CLASSES, 6))[labels]
    test = rng.normal(size=(40, 6)) * 4
    means = np.array([features[labels == c].mean(0) for c in range(CLASSES)])
    oracle = EmpiricalCovariance(assume_centered=True).fit(features - means[labels])
    expected = -np.min([oracle.mahalanobis(test - mean) for mean in means], axis=0)
    fitted = mahalanobis.fit(torch.tensor(features), torch.tensor(labels), CLASSES)
    np.testing.assert_allclose(mahalanobis.score(torch.tensor(test), fitted), expected, rtol=1e-9)
    assert fitted.rank == 6


def test_mahalanobis_ignores_directions_without_variance() -> None:
    """Dead and doubled units, with rounding errors in them, leave the distance as it is without them."""
    alive = normal(200, 5) + 2
    labels = torch.arange(200) % CLASSES
    dead = torch.full((200, 2), 0.123456) * (1 + 1e-7 * normal(200, 2, seed=1))
    both = torch.cat([alive, dead, alive[:, :1]], dim=1)
    fitted = mahalanobis.fit(both, labels, CLASSES)
    assert fitted.rank == 5
    plain = mahalanobis.score(alive, mahalanobis.fit(alive, labels, CLASSES))
    torch.testing.assert_close(mahalanobis.score(both, fitted), plain, rtol=1e-4, atol=1e-4)


def test_mahalanobis_refuses() -> None:
    with pytest.raises(ReproodError, match="class 2 of 3 has no training sample"):
        mahalanobis.fit(normal(4, 2), torch.tensor([0, 1, 0, 1]), 3)
    with pytest.raises(ReproodError, match="constant"):
        mahalanobis.fit(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]), 2)


@pytest.mark.parametrize("k", [1, 3, 120])
@pytest.mark.parametrize("budget", [2**24, 300])
def test_knn_equals_scikit_learn_in_any_block_size(k: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "BUDGET", budget)
    bank, features = normal(120, 7), torch.cat([normal(30, 7, seed=1), normal(120, 7)[:3]])
    unit_bank, unit_features = (x / x.norm(dim=1, keepdim=True) for x in (bank.double(), features.double()))
    expected = NearestNeighbors(n_neighbors=k).fit(unit_bank).kneighbors(unit_features)[0][:, -1]
    np.testing.assert_allclose(-knn.score(features, bank, k), expected, atol=2e-7)


def test_knn_refuses_more_neighbours_than_there_are() -> None:
    with pytest.raises(ReproodError, match=r"k = 11 .*there are 10"):
        knn.score(normal(2, 3), normal(10, 3), 11)
    assert knn.score(torch.zeros(1, 3), normal(10, 3), 1).tolist() == [pytest.approx(-1.0)]


def test_vim_follows_the_definition() -> None:
    weight, bias = normal(CLASSES, WIDTH).double(), normal(CLASSES, seed=1).double()
    features = normal(150, WIDTH, seed=2).double().relu()
    values = features @ weight.T + bias
    fitted = vim.fit(features, values, weight, bias)
    assert fitted.dimension == WIDTH // 2
    torch.testing.assert_close(weight @ fitted.origin + bias, torch.zeros(CLASSES).double(), atol=1e-10, rtol=0)
    centred = (features - fitted.origin).numpy()
    _, _, rows = np.linalg.svd(centred, full_matrices=True)
    residual = np.linalg.norm(centred @ rows[WIDTH // 2 :].T, axis=1)
    alpha = values.amax(1).mean().item() / residual.mean()
    assert fitted.alpha == pytest.approx(alpha)
    np.testing.assert_allclose(
        vim.score(features, values, fitted), torch.logsumexp(values, 1).numpy() - alpha * residual, rtol=1e-9
    )


def test_vim_needs_a_residual_space() -> None:
    arguments = normal(20, WIDTH), normal(20, CLASSES), normal(CLASSES, WIDTH), normal(CLASSES)
    with pytest.raises(ReproodError, match="dimension 12 and the features 12"):
        vim.fit(*arguments, dimension=WIDTH)
    assert [vim.principal_dimension(d) for d in (2048, 1000, 768, 512, 128, 1)] == [1000, 512, 512, 256, 64, 0]


# --- the table ---


def test_names_without_torch_are_the_tables() -> None:
    assert tuple(DETECTORS) == POST_HOC
    assert all(name == detector.name and detector.label for name, detector in DETECTORS.items())
    assert DETECTORS["knn"].defaults == {"k": 50}


def test_every_detector_scores_every_split(world: tuple[Toy, Known, dict[str, Stored]]) -> None:
    model, known, splits = world
    found = score_all({name: {} for name in DETECTORS}, known, splits)
    assert not found.skipped
    for split, stored in splits.items():
        assert set(found.scores[split]) == set(DETECTORS)
        for values in found.scores[split].values():
            assert values.dtype == torch.float64
            assert values.shape == (len(stored.logits),)
            assert torch.isfinite(values).all()
    assert found.fitted["odin"] == {"epsilon": 0.0014}
    assert found.fitted["vim"]["dimension"] == WIDTH // 2
    assert found.fitted["react"]["threshold"] == pytest.approx(react.threshold(known.validation.features, 90))
    images = torch.cat(list(splits["test"].batches()))
    torch.testing.assert_close(found.scores["test"]["odin"], odin.odin(model, images, known.std))


def test_higher_means_more_in_distribution() -> None:
    """Tight clusters against far features in other directions: every detector of features and logits ranks ID above."""
    centres = 6 * torch.eye(CLASSES, WIDTH)
    labels = torch.arange(200) % CLASSES
    inside = [centres[labels] + 0.3 * normal(200, WIDTH, seed=s).abs() for s in (1, 2)]
    outside = 1.5 * normal(100, WIDTH, seed=3).abs()
    weight, bias = centres.clone(), torch.zeros(CLASSES)
    train, test, ood = (Stored(x @ weight.T + bias, x) for x in (*inside, outside))
    known = Known(train=train, labels=labels, validation=test, head=(weight, bias))
    # One unit in twelve is active for a class here, so that a lower percentile would clip just what tells the classes.
    options = {name: {"percentile": 99} if name == "react" else {} for name in DETECTORS}
    found = score_all(options, known, {"test": test, "ood": ood})
    assert set(found.skipped) == {"odin"}
    for name, values in found.scores["test"].items():
        wins = (values[:, None] > found.scores["ood"][name]).double().mean()
        assert wins > 0.8, name


def test_what_outputs_do_not_allow_is_skipped_with_a_reason(world: tuple[Toy, Known, dict[str, Stored]]) -> None:
    _, known, splits = world
    only_logits = {name: Stored(stored.logits) for name, stored in splits.items()}
    bare = Known(train=Stored(known.train.logits), labels=known.labels, validation=Stored(known.validation.logits))
    found = score_all({name: {} for name in DETECTORS}, bare, only_logits)
    assert set(found.scores["test"]) == {"msp", "maxlogit", "energy", "oe_cross_entropy"}
    assert "features" in found.skipped["knn"]
    assert "gradients" in found.skipped["odin"]
    no_head = Known(train=known.train, labels=known.labels, validation=known.validation)
    found = score_all({"vim": {}, "react": {}, "knn": {}}, no_head, splits)
    assert set(found.skipped) == {"vim", "react"}
    assert "affine" in found.skipped["vim"]


@pytest.mark.parametrize(
    ("detectors", "words"),
    [
        ({"mps": {}}, "no detector 'mps'"),
        ({"knn": {"k": 0}}, "detectors.knn.k"),
        ({"knn": {"K": 3}}, r"detectors.knn.K.*options of this detector: k"),
        ({"odin": {"epsilon": "test"}}, "detectors.odin.epsilon"),
        ({"react": {"percentile": 101}}, "detectors.react.percentile"),
        ({"msp": {"temperature": 2}}, "options of this detector: none"),
    ],
)
def test_refuses_unknown_detectors_and_options(detectors: dict[str, dict[str, object]], words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        parse_options(detectors)


def test_options_reach_the_detector(world: tuple[Toy, Known, dict[str, Stored]]) -> None:
    _, known, splits = world
    found = score_all({"energy": {"temperature": 2.0}, "odin": {"epsilon": "validation"}, "msp": None}, known, splits)
    assert torch.equal(found.scores["test"]["energy"], logits.energy(splits["test"].logits, 2.0))
    assert found.fitted["odin"]["epsilon"] in DETECTORS["odin"].defaults["grid"]
