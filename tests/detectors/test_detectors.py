"""Detectors: identities, plain re-computations, edge cases, and the records."""

import ast
import doctest
import importlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

import reprood.detectors.registry as registry
from reprood.core.errors import ReproodError
from reprood.detectors import energy, knn, mahalanobis, mahalanobis_step, maxlogit, msp, odin, react, vim
from reprood.detectors.record import INPUTS, Detector, Options, Outputs, Paper, Reference
from reprood.evaluate.outputs import Raw
from reprood.evaluate.scores import Computed, compute, requested

CLASSES, WIDTH = 4, 12
PASS = odin.pass_name(1000, 0.0014)
FOLDER = Path(registry.__file__).parent


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def raw() -> Raw:
    """Outputs of an affine layer on random features."""
    weight, bias = normal(CLASSES, WIDTH, seed=10), normal(CLASSES, seed=11)

    def outputs(count: int, seed: int) -> Outputs:
        features = np.maximum(normal(count, WIDTH, seed=seed), 0)
        logits = features @ weight.T + bias
        steps = {odin.pass_name(1000, size): logits + np.float32(size) for size in (0.0014, *odin.OdinOptions().grid)}
        grid = mahalanobis_step.MahalanobisStepOptions().grid
        steps |= {mahalanobis_step.pass_name(size): -np.abs(logits[:, :1]) + np.float32(size) for size in grid}
        return Outputs(logits, features, steps)

    reference = Reference(
        outputs(30, 2), outputs(80, 1), np.arange(80) % CLASSES, (weight, bias), np.arange(30) % CLASSES
    )
    return Raw({}, {"validation": reference.validation, "test": outputs(25, 3), "ood": outputs(16, 4)}, reference)


def run(raw: Raw, **detectors: dict[str, object] | None) -> dict[str, Computed]:
    return {name: compute(name, options, raw) for name, options in registry.parse_options(detectors).items()}


# --- identities (exact by definition) ---


def test_maxlogit_energy_and_msp_are_ordered() -> None:
    values = 4 * normal(200, 10)
    largest, free = maxlogit.maxlogit(values), energy.energy(values)
    assert (largest <= free).all()
    assert (free <= largest + math.log(10)).all()
    np.testing.assert_allclose(np.log(msp.msp(values)), largest - free, atol=1e-12)
    assert ((msp.msp(values) >= 0.1) & (msp.msp(values) <= 1)).all()


@pytest.mark.parametrize("percentile", [0, 10, 85.3, 90, 99.9, 100])
@pytest.mark.parametrize("rows", [1, 2, 7, 333])
def test_react_threshold_is_numpys_percentile(rows: int, percentile: float) -> None:
    features = np.maximum(normal(rows, 5, seed=rows), 0)
    assert react.threshold(features, percentile) == np.percentile(features.astype(np.float64), percentile)


def test_react_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    features, weight = np.abs(normal(11, 4)).astype(np.float64), normal(3, 4, seed=1)
    before, at_once = features.copy(), react.score(features, weight, np.zeros(3), 0.5)
    monkeypatch.setattr(react, "ROWS", 3)
    np.testing.assert_allclose(react.score(features, weight, np.zeros(3), 0.5), at_once, rtol=1e-14)
    assert (features == before).all()


def test_react_without_limit_is_energy() -> None:
    features, weight, bias = np.maximum(normal(20, WIDTH), 0), normal(CLASSES, WIDTH, seed=1), normal(CLASSES, seed=2)
    expected = energy.energy(features.astype(np.float64) @ weight.astype(np.float64).T + bias)
    assert (react.score(features, weight, bias, math.inf) == expected).all()
    limit = react.threshold(features, 80)
    assert limit == pytest.approx(np.percentile(features, 80))
    assert not (react.score(features, weight, bias, limit) == expected).all()


# --- against plain computations ---


def test_odin_separates_at_high_temperature() -> None:
    values = normal(2000, 6)
    scaled = np.exp(values / np.float32(1000))
    single = (scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1)
    assert single.dtype == np.float32
    assert len(np.unique(single)) < len(np.unique(msp.msp(values, 1000.0))) == 2000


def test_odin_chooses_the_step_on_validation_images() -> None:
    logits = {0.04: normal(30, 4), 0.0: 2 * normal(30, 4, seed=1), 0.01: normal(30, 4, seed=2)}
    means = {size: msp.msp(values, 10.0).mean() for size, values in logits.items()}
    assert odin.choose_epsilon(logits, 10.0) == max(sorted(logits), key=lambda size: means[size])
    assert odin.choose_epsilon({0.3: np.zeros((5, 3)), 0.1: np.zeros((5, 3))}, 1.0) == 0.1  # all equal: the smallest


def test_odin_requests_a_pass_for_each_candidate() -> None:
    made = registry.passes_of({"odin": {"epsilon": "validation", "grid": (0.02, 0.01)}})
    assert [request["epsilon"] for request in made.values()] == [0.01, 0.02]
    assert list(registry.passes_of({"odin": {}})) == [PASS]
    assert registry.passes_of({"knn": {}, "msp": {}}) == {}


def test_mahalanobis_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 300)
    features = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 3 * rng.normal(size=(CLASSES, 6))[labels]
    test = rng.normal(size=(40, 6)) * 4
    means = np.array([features[labels == c].mean(0) for c in range(CLASSES)])
    oracle = EmpiricalCovariance(assume_centered=True).fit(features - means[labels])
    expected = -np.min([oracle.mahalanobis(test - mean) for mean in means], axis=0)
    fitted = mahalanobis.fit(features, labels, CLASSES)
    np.testing.assert_allclose(mahalanobis.score(test, fitted), expected, rtol=1e-9)
    assert fitted.rank == 6


@pytest.mark.parametrize("half", [False, True])
def test_mahalanobis_ignores_directions_without_variance(half: bool) -> None:
    """Dead and doubled units, with rounding errors in them, leave the distance unchanged."""
    alive = normal(200, 5) + 2
    labels = np.arange(200) % CLASSES
    dead = np.full((200, 2), 0.123456, np.float32) * (1 + 1e-7 * normal(200, 2, seed=1))
    both = np.concatenate([alive, dead, alive[:, :1]], axis=1)
    if half:  # as features are stored
        alive, both = (values.astype(np.float16).astype(np.float32) for values in (alive, both))
    fitted = mahalanobis.fit(both, labels, CLASSES)
    assert fitted.rank == 5
    plain = mahalanobis.score(alive, mahalanobis.fit(alive, labels, CLASSES))
    np.testing.assert_allclose(mahalanobis.score(both, fitted), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mahalanobis_keeps_small_variances_of_collapsed_features(dtype: type) -> None:
    """The covariance is cut at float64 precision, whatever the features' dtype, as by scikit-learn's estimator."""
    width, count = 32, 400
    scales = np.geomspace(1.0, 1e-4, width)  # variances down to 1e-8 of the largest
    rotation = np.linalg.qr(normal(width, width, seed=3).astype(np.float64))[0]
    labels = np.arange(count) % CLASSES
    centres = normal(CLASSES, width, seed=4).astype(np.float64)
    features = ((normal(count, width) * scales) @ rotation + centres[labels]).astype(dtype)
    test = ((normal(50, width, seed=5) * scales) @ rotation + centres[np.arange(50) % CLASSES]).astype(dtype)
    fitted = mahalanobis.fit(features, labels, CLASSES)
    assert fitted.rank == width
    means = np.array([features[labels == c].astype(np.float64).mean(axis=0) for c in range(CLASSES)])
    oracle = EmpiricalCovariance(assume_centered=False).fit((features - means[labels]).astype(dtype))
    assert oracle.precision_.dtype == np.float64
    expected = -np.min([oracle.mahalanobis(test - mean) for mean in means], axis=0)
    np.testing.assert_allclose(mahalanobis.score(test, fitted), expected, rtol=1e-3)


def test_mahalanobis_rejects_unfit_data() -> None:
    with pytest.raises(ReproodError, match="class 2 of 3 has no training sample"):
        mahalanobis.fit(normal(4, 2), np.array([0, 1, 0, 1]), 3)
    with pytest.raises(ReproodError, match="constant"):
        mahalanobis.fit(np.ones((4, 2), np.float32), np.array([0, 1, 0, 1]), 2)


@pytest.mark.parametrize("k", [1, 3, 120])
@pytest.mark.parametrize("budget", [2**24, 300])
def test_knn_equals_scikit_learn_in_any_block_size(k: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "BUDGET", budget)
    bank, features = normal(120, 7), np.concatenate([normal(30, 7, seed=1), normal(120, 7)[:3]])
    unit_bank, unit_features = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank.astype(float), features.astype(float))
    )
    expected = NearestNeighbors(n_neighbors=k).fit(unit_bank).kneighbors(unit_features)[0][:, -1]
    np.testing.assert_allclose(-knn.score(features, bank, k), expected, atol=2e-7)


def test_knn_rejects_more_neighbours_than_there_are() -> None:
    with pytest.raises(ReproodError, match=r"k = 11 .*there are 10"):
        knn.score(normal(2, 3), normal(10, 3), 11)
    assert knn.score(np.zeros((1, 3), np.float32), normal(10, 3), 1).tolist() == [pytest.approx(-1.0)]


def test_vim_follows_the_definition() -> None:
    weight, bias = normal(CLASSES, WIDTH).astype(float), normal(CLASSES, seed=1).astype(float)
    features = np.maximum(normal(150, WIDTH, seed=2), 0).astype(float)
    values = features @ weight.T + bias
    fitted = vim.fit(features, values, weight, bias)
    assert fitted.dimension == WIDTH // 2
    np.testing.assert_allclose(weight @ fitted.origin + bias, 0, atol=1e-10)
    centred = features - fitted.origin
    _, _, rows = np.linalg.svd(centred, full_matrices=True)
    residual = np.linalg.norm(centred @ rows[WIDTH // 2 :].T, axis=1)
    alpha = values.max(axis=1).mean() / residual.mean()
    assert fitted.alpha == pytest.approx(alpha)
    expected = energy.energy(values) - alpha * residual
    np.testing.assert_allclose(vim.score(features, values, fitted), expected, rtol=1e-9)


def test_vim_needs_a_residual_space() -> None:
    arguments = normal(20, WIDTH), normal(20, CLASSES), normal(CLASSES, WIDTH), normal(CLASSES)
    with pytest.raises(ReproodError, match="dimension 12 and the features 12"):
        vim.fit(*arguments, dimension=WIDTH)
    assert [vim.principal_dimension(d) for d in (2048, 1000, 768, 512, 128, 1)] == [1000, 512, 512, 256, 64, 0]


# --- the records ---


def test_every_file_with_a_record_is_a_detector() -> None:
    assert set(registry.names()) == {
        "msp", "maxlogit", "energy", "oe_cross_entropy", "odin", "mahalanobis", "mahalanobis_step", "knn", "vim",
        "react", "entropy", "gen", "temperature_scaling", "rmds", "kl_matching", "she", "ash", "scale", "dice",
        "residual", "fdbd", "nnguide", "gradnorm", "openmax",
    }  # fmt: skip
    for name in registry.names():
        record = registry.detector(name)
        assert record.name == name
        assert record.label
        assert record.formula
        assert "\n" not in record.formula
        assert record.paper.url.startswith("https://")
        assert set(record.inputs) <= set(INPUTS)
        record.options()  # every option has a default
    labels = [registry.detector(name).label for name in registry.names()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("inputs", [(), ("logits", "weights"), ("pass",)])
def test_a_record_with_wrong_inputs_is_rejected(inputs: tuple[str, ...]) -> None:
    paper = Paper("T", "A", "V", 2020, "https://example.org")
    with pytest.raises(ValueError, match="detector new"):
        Detector("new", "New", paper, "x", inputs, lambda outputs, fitted, options: outputs.logits)


def test_declared_inputs_are_all_that_a_detector_reads(raw: Raw) -> None:
    """Without the inputs that it does not declare, a detector gives the same scores."""
    for name in registry.names():
        record, known = registry.detector(name), raw.reference

        def only(outputs: Outputs, logits: str, features: str, inputs: tuple[str, ...] = record.inputs) -> Outputs:
            return Outputs(
                outputs.logits if logits in inputs else np.full_like(outputs.logits, np.nan),
                outputs.features if features in inputs else None,
                outputs.passes if "pass" in inputs else {},
            )

        assert known.train is not None
        train = {"train_logits", "train_features"} & set(record.inputs)
        reduced = Raw(
            {},
            {split: only(outputs, "logits", "features") for split, outputs in raw.splits.items()},
            Reference(
                only(known.validation, "logits", "features"),
                only(known.train, "train_logits", "train_features") if train else None,
                known.labels if train else None,
                known.head if "head" in record.inputs else None,
                known.validation_labels if "validation_labels" in record.inputs else None,
            ),
        )
        options = record.options(**({"k": 5} if name == "knn" else {}))
        whole, part = compute(name, options, raw), compute(name, options, reduced)
        assert whole.values is not None
        assert part.values is not None
        assert (whole.values == part.values).all(), name


def test_no_detector_imports_torch() -> None:
    modules = "; ".join(f"import {registry.module_name(name)}" for name in registry.names())
    code = f"import sys; {modules}; sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_registry_imports_no_detector_statically() -> None:
    """A job's fingerprint holds only the detectors of its benchmark, so adding one leaves other benchmarks alone."""
    for path in (FOLDER / "registry.py", FOLDER / "record.py"):
        imported = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert not imported & {registry.module_name(name) for name in registry.names()}


def test_every_detector_scores_every_split(raw: Raw) -> None:
    found = run(raw, **{name: {} for name in registry.names()})
    count = sum(len(outputs.logits) for outputs in raw.splits.values())
    for name, computed in found.items():
        assert not computed.skipped
        assert computed.values is not None, name
        assert computed.values.dtype == np.float64
        assert computed.values.shape == (count,)
    assert found["odin"].fitted == {"epsilon": 0.0014}
    assert found["mahalanobis_step"].fitted == {"epsilon": 0.08}  # the size with the highest mean
    assert found["vim"].fitted["dimension"] == WIDTH // 2
    assert found["react"].fitted["threshold"] == pytest.approx(react.threshold(raw.splits["validation"].features, 90))
    np.testing.assert_allclose(found["odin"].values[30:55], msp.msp(raw.splits["test"].passes[PASS], 1000))


def test_higher_means_more_in_distribution() -> None:
    """Tight clusters against far features in other directions: every detector of features and logits ranks ID above."""
    centres = 6 * np.eye(CLASSES, WIDTH, dtype=np.float32)
    labels = np.arange(200) % CLASSES
    inside = [centres[labels] + 0.3 * np.abs(normal(200, WIDTH, seed=s)) for s in (1, 2)]
    outside = 1.5 * np.abs(normal(100, WIDTH, seed=3))
    weight, bias = centres.copy(), np.zeros(CLASSES, np.float32)
    train, test, ood = (
        Outputs(np.asarray(x @ weight.T + bias), x, {PASS: np.asarray(x @ weight.T)}) for x in (*inside, outside)
    )
    raw = Raw({}, {"test": test, "ood": ood}, Reference(test, train, labels, (weight, bias), labels))
    # One unit in twelve is active for a class here: a lower percentile would clip exactly what separates the classes.
    # For the same reason, ASH and SCALE keep more than one unit.
    special = {"react": {"percentile": 99}, "ash": {"percentile": 50}, "scale": {"percentile": 50}}
    # GradNorm multiplies by the length of the features, which is larger outside here; scores with a step are stored.
    others = ("gradnorm", "mahalanobis_step")
    options = {name: special.get(name, {}) for name in registry.names() if name not in others}
    for name, computed in run(raw, **options).items():
        assert computed.values is not None
        wins = (computed.values[:200, None] > computed.values[200:]).mean()
        assert wins > 0.8, name


def test_a_network_without_an_affine_layer_skips_what_needs_it(raw: Raw) -> None:
    known = raw.reference
    bare = Raw({}, raw.splits, Reference(known.validation, known.train, known.labels, None))
    found = run(bare, vim={}, react={}, knn={})
    assert {name for name, computed in found.items() if computed.skipped} == {"vim", "react"}
    assert "affine" in found["vim"].skipped
    assert "labels" in run(bare, temperature_scaling={})["temperature_scaling"].skipped
    assert found["vim"].values is None


def test_scores_that_are_not_finite_are_rejected(raw: Raw) -> None:
    broken = Outputs(np.full((3, CLASSES), np.inf, np.float32), None)
    with pytest.raises(ReproodError, match="score maxlogit is not finite for 3 of 3"):
        compute("maxlogit", Options(), Raw({}, {"t": broken}, raw.reference))


@pytest.mark.parametrize(
    ("detectors", "words"),
    [
        ({"mps": {}}, "no detector 'mps'"),
        ({"registry": {}}, "no detector 'registry'"),
        ({"knn": {"k": 0}}, "detectors.knn.k"),
        ({"knn": {"K": 3}}, r"detectors.knn.K.*options of this detector: k"),
        ({"odin": {"epsilon": "test"}}, "detectors.odin.epsilon"),
        ({"react": {"percentile": 101}}, "detectors.react.percentile"),
        ({"msp": {"temperature": 2}}, "options of this detector: none"),
    ],
)
def test_unknown_detectors_and_options_are_rejected(detectors: dict[str, dict[str, object]], words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        registry.parse_options(detectors)


def test_options_reach_the_detector(raw: Raw) -> None:
    found = run(raw, energy={"temperature": 2.0}, odin={"epsilon": "validation"}, msp=None)
    expected = energy.energy(raw.splits["test"].logits, 2.0)
    assert found["energy"].values is not None
    assert (found["energy"].values[30:55] == expected).all()
    assert found["odin"].fitted["epsilon"] in odin.OdinOptions().grid


def test_msp_is_always_computed_and_comes_first() -> None:
    assert list(requested({"knn": {}, "energy": {}}, 3)) == ["msp", "energy", "knn"]
    assert list(requested({"msp": {}, "energy": {}}, 3)) == ["msp", "energy"]
    assert list(requested({"energy": {}}, 1)) == ["energy"]


@pytest.mark.parametrize("module", [*registry.names(), "arrays", "registry", "pytorch_ood"])
def test_examples_in_docstrings(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"reprood.detectors.{module}"))
    assert results.failed == 0
    assert results.attempted > 0 or module == "odin"
