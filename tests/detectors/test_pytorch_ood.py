"""The adapter for detectors of pytorch-ood: all that work on stored outputs, their options and their errors."""

import inspect

import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.detectors import energy, entropy, knn, pytorch_ood, registry, rmds, she
from reprood.detectors.record import Outputs, Reference
from reprood.evaluate.outputs import Raw
from reprood.evaluate.scores import compute
from reprood.report import labels

CLASSES, WIDTH = 4, 12
NEEDED = {"WeightedEBO": {"weights": [1.0] * CLASSES}, "ViM": {"d": 5}}


@pytest.fixture(scope="module")
def raw() -> Raw:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32)

    def outputs(count: int) -> Outputs:
        features = np.maximum(weight[np.arange(count) % CLASSES] + 0.5 * rng.normal(size=(count, WIDTH)), 0)
        return Outputs((features @ weight.T + bias).astype(np.float32), features.astype(np.float32))

    known = Reference(
        outputs(60), outputs(200), np.arange(200) % CLASSES, (weight, bias), (np.arange(60) % CLASSES).astype(np.int32)
    )
    return Raw({}, {"validation": known.validation, "test": outputs(25)}, known)


@pytest.mark.filterwarnings("ignore")
def test_every_detector_of_the_table_scores(raw: Raw) -> None:
    for own in pytorch_ood.KNOWN:
        name = f"pytorch_ood.{own}"
        options = registry.parse_options({name: NEEDED.get(own, {})})[name]
        first, again = compute(name, options, raw), compute(name, options, raw)
        assert first.values is not None
        assert first.values.shape == (85,)
        assert np.isfinite(first.values).all(), own
        assert (first.values == again.values).all()
        assert labels.score(registry.score_name(name)) == f"{own} (pytorch-ood)"
        assert "version" in options.model_dump()


@pytest.mark.filterwarnings("ignore")
def test_values_are_those_of_the_package_where_definitions_agree(raw: Raw) -> None:
    test, known = raw.splits["test"], raw.reference
    assert known.train is not None
    assert test.features is not None
    assert known.train.features is not None
    assert known.labels is not None
    train = known.train.features
    fitted = rmds.fit(train, known.labels, CLASSES)
    expected = {
        "Entropy": entropy.entropy(test.logits),
        "EnergyBased": energy.energy(test.logits),
        "KNN": knn.score(test.features, train, 50),
        "RMD": rmds.score(test.features, fitted) / len(train),
        "SHE": she.score(test.features, test.logits, she.fit(train, known.train.logits, known.labels)),
    }
    for own, values in expected.items():
        name = f"pytorch_ood.{own}"
        found = compute(name, registry.parse_options({name: {}})[name], raw).values
        assert found is not None
        np.testing.assert_allclose(found[60:], values, rtol=2e-3, atol=1e-4, err_msg=own)


def test_the_table_has_all_detectors_of_logits_and_features() -> None:
    from pytorch_ood import detector

    text = {"MCM"}  # compares features with those of texts
    kinds = ("predict_logits", "predict_features")
    there = {
        name
        for name in detector.__all__
        if inspect.isclass(getattr(detector, name)) and any(hasattr(getattr(detector, name), kind) for kind in kinds)
    }
    assert there - text <= set(pytorch_ood.KNOWN)
    for name, theirs in pytorch_ood.KNOWN.items():
        made = getattr(detector, name)
        assert made.requires_fit == bool(theirs.fit)
        defaults = {key: one.default for key, one in inspect.signature(made).parameters.items()}
        for key, (_, default) in theirs.options.items():
            assert key in defaults
            assert default is ... or defaults[key] in (default, inspect.Parameter.empty), (name, key)


@pytest.mark.parametrize(
    ("detectors", "words"),
    [
        ({"pytorch_ood.Entrop": {}}, "pytorch_ood.Entrop is no detector .*did you mean 'Entropy'"),
        ({"pytorch_ood.GradNorm": {}}, "works on stored logits or features"),
        ({"pytorch_ood.GEN": {"m": 3}}, "pytorch_ood.GEN.m: .*detector: gamma, M"),
        ({"pytorch_ood.ViM": {}}, "pytorch_ood.ViM.d: Field required"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(detectors: dict[str, dict[str, object]], words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        registry.parse_options(detectors)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch_ood, "find_spec", lambda name: None)
    pytorch_ood.adapted.cache_clear()
    registry.detector.cache_clear()
    with pytest.raises(ReproodError, match=r"not installed: pip install 'reprood\[pytorch-ood\]'"):
        registry.detector("pytorch_ood.Entropy")
