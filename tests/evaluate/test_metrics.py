"""The metric kernel against scikit-learn, hand-worked examples, identities and pytorch-ood."""

import itertools
import math
from fractions import Fraction

import golden_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from reprood.core.errors import ReproodError
from reprood.evaluate import variants
from reprood.evaluate.metrics import METRICS, detection_metrics, needed, rank

FINITE = st.floats(-1e300, 1e300, allow_nan=False, allow_infinity=False)
FEW = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0])
TINY = st.floats(-1e-310, 1e-310, allow_nan=False, allow_infinity=False)
CONSTANT = st.just(3.0)


def samples(elements: st.SearchStrategy[float], largest: int = 60) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, st.integers(1, largest), elements=elements)


PAIRS = st.one_of(*(st.tuples(samples(e), samples(e)) for e in (FINITE, FEW, TINY, CONSTANT)))


def oracle(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    """The definitions, with scikit-learn where it has the metric and loops over thresholds where it has not."""
    truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    # Ranks instead of values: scikit-learn merges scores that differ by less than it can resolve.
    scores = np.unique(np.concatenate([inside, outside]), return_inverse=True)[1].astype(float)
    first, second = scores[: len(inside)], scores[len(inside) :]
    thresholds = np.unique(scores)
    strict_to_loose = thresholds[::-1]
    return {
        "auroc": float(sklearn_metrics.roc_auc_score(truth, scores)),
        "aupr_in": float(sklearn_metrics.average_precision_score(truth, scores)),
        "aupr_out": float(sklearn_metrics.average_precision_score(1 - truth, -scores)),
        "fpr95_id_positive": next(float(np.mean(second >= t)) for t in strict_to_loose if np.mean(first >= t) >= 0.95),
        "fpr95_ood_positive": next(float(np.mean(first <= t)) for t in thresholds if np.mean(second <= t) >= 0.95),
        "detection_error": min(0.5 * float(np.mean(first < t) + np.mean(second >= t)) for t in [*thresholds, math.inf]),
    }


@settings(max_examples=300, deadline=None)
@given(PAIRS)
def test_equals_the_definitions(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found, expected = detection_metrics(*pair), oracle(*pair)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 5000), (5000, 1), (3000, 2000), (200, 20000)])
@pytest.mark.parametrize("kind", ["normal", "rounded", "constant", "huge", "tiny", "float32"])
def test_equals_scikit_learn_on_large_samples(sizes: tuple[int, int], kind: str) -> None:
    rng = np.random.default_rng(sum(sizes))
    inside, outside = rng.normal(0.7, 1, sizes[0]), rng.normal(0, 1, sizes[1])
    change = {
        "normal": lambda x: x,
        "rounded": lambda x: x.round(1),
        "constant": np.zeros_like,
        "huge": lambda x: x * 1e300,
        "tiny": lambda x: x * 1e-300,
        "float32": lambda x: x.astype(np.float32),
    }[kind]
    inside, outside = change(inside), change(outside)
    found, expected = detection_metrics(inside, outside), oracle(inside, outside)
    assert found == pytest.approx(expected, abs=1e-11)


def test_auroc_is_exact_where_ties_are_many() -> None:
    inside, outside = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 2.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    assert detection_metrics(inside, outside)["auroc"] == sum(pairs) / 12


def test_fpr_conventions_by_hand() -> None:
    """20 ID scores 1..20, OOD at 0.5 and in the gaps.

    95 % of 20 is 19: accept s >= 2, and 2 of 4 OOD scores (3.5, 9.5) are at least 2. OOD positive: all 4 OOD scores
    must be rejected for 95 %, so reject s <= 9.5, which rejects ID 1..9, 9 of 20.
    """
    found = detection_metrics(np.arange(1.0, 21.0), np.array([0.5, 1.5, 3.5, 9.5]))
    assert found["fpr95_id_positive"] == 2 / 4
    assert found["fpr95_ood_positive"] == 9 / 20
    # The strictest threshold, not the nearest rate: with 19 ID samples 95 % needs all of them.
    assert detection_metrics(np.arange(19.0), np.array([0.0]))["fpr95_id_positive"] == 1.0


def test_aupr_positives_are_not_swapped() -> None:
    """Three ID, one OOD with the second highest score.

    ID positive: precisions 1, 2/3, 3/4 at recalls 1/3, 2/3, 1. OOD positive, from below: found third, precision 1/3.
    """
    found = detection_metrics(np.array([4.0, 2.0, 1.0]), np.array([3.0]))
    assert found["aupr_in"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found["aupr_out"] == pytest.approx(1 / 3)
    assert found["auroc"] == pytest.approx(1 / 3)
    assert found["detection_error"] == pytest.approx(0.5 * 2 / 3)


@settings(max_examples=200, deadline=None)
@given(PAIRS)
def test_identities(pair: tuple[np.ndarray, np.ndarray]) -> None:
    inside, outside = pair
    found = detection_metrics(inside, outside)
    turned = detection_metrics(-inside, -outside)
    assert found["auroc"] == pytest.approx(1 - turned["auroc"], abs=1e-15)
    swapped = detection_metrics(-outside, -inside)
    assert found["auroc"] == swapped["auroc"]
    assert found["aupr_in"] == pytest.approx(swapped["aupr_out"], abs=1e-14)
    assert found["fpr95_id_positive"] == swapped["fpr95_ood_positive"]
    assert found["detection_error"] == pytest.approx(swapped["detection_error"], abs=1e-15)
    assert 0 <= found["detection_error"] <= 0.5
    right = np.arange(len(inside)) % 3 != 0
    accuracy = float(right.mean())
    assert variants.oscr(inside, right, outside) <= accuracy + 1e-12
    everything = variants.oscr(inside, np.ones(len(inside), dtype=bool), outside)
    assert everything == pytest.approx(found["auroc"], abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.tuples(samples(st.integers(-50, 50).map(float)), samples(st.integers(-50, 50).map(float))))
def test_increasing_maps_change_nothing(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = detection_metrics(*pair)
    for change in (lambda x: 3 * x - 7, np.arctan, lambda x: x**3 * 1e200, lambda x: np.exp(x / 5)):
        assert detection_metrics(*(change(part) for part in pair)) == found


def test_random_scores_have_the_base_rate_as_aupr_out() -> None:
    rng = np.random.default_rng(0)
    found = detection_metrics(rng.normal(size=30000), rng.normal(size=10000))
    assert found["aupr_out"] == pytest.approx(0.25, abs=0.01)
    assert found["auroc"] == pytest.approx(0.5, abs=0.01)


def test_below_one_half_is_neither_flipped_nor_clipped() -> None:
    found = detection_metrics(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    assert found["auroc"] == 0.0
    assert found["fpr95_id_positive"] == found["fpr95_ood_positive"] == 1.0
    assert found["detection_error"] == 0.5


@pytest.mark.parametrize(
    ("inside", "outside", "words"),
    [
        ([], [1.0], "no in-distribution scores"),
        ([1.0], [], "no OOD scores"),
        ([1.0, math.nan], [1.0], "1 of 2 in-distribution scores are not finite"),
        ([1.0], [math.inf], "1 of 1 OOD scores are not finite"),
        ([[1.0]], [1.0], "shape"),
    ],
)
def test_refuses(inside: list[float], outside: list[float], words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        detection_metrics(np.array(inside), np.array(outside))


def test_needed_is_the_smallest_count() -> None:
    for total in itertools.chain(range(1, 500), (10_000, 99_999, 10**6)):
        count = needed(0.95, total)
        assert count / total >= 0.95 > (count - 1) / total


def test_counts_stand_for_repeated_samples() -> None:
    rng = np.random.default_rng(4)
    inside, outside = rng.normal(1, 1, 40).round(1), rng.normal(0, 1, 30).round(1)
    of_id, of_ood = rng.integers(0, 4, 40), rng.integers(0, 4, 30)
    counts = rank(inside, outside).counts(of_id, of_ood)
    expected = detection_metrics(np.repeat(inside, of_id), np.repeat(outside, of_ood))
    assert {name: float(metric(counts)) for name, metric in METRICS.items()} == pytest.approx(expected, abs=1e-14)


def pytorch_ood(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    """Its metrics of float64 outlier scores, with its names."""
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("pytorch_ood.metrics")
    meter = metrics.OODMetrics()
    labels = torch.tensor([0] * len(inside) + [-1] * len(outside))
    meter.update(torch.tensor(-np.concatenate([inside, outside])), labels)
    return {key: float(value) for key, value in meter.compute().items()}


@pytest.mark.parametrize("decimals", [8, 1])
@pytest.mark.slow
def test_pytorch_ood_as_an_oracle(decimals: int) -> None:
    """Its FPR has OOD as the positive class; its precision-recall areas are trapezoids.

    Ranks scaled to [0, 1] go in: versions before 0.4 send other values through a sigmoid.
    """
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(1, 1, 300).round(decimals), rng.normal(0, 1, 200).round(decimals)
    ranks = np.unique(np.concatenate([inside, outside]), return_inverse=True)[1]
    scaled = ranks / ranks.max() - 1
    theirs = pytorch_ood(scaled[:300], scaled[300:])
    found = detection_metrics(inside, outside)
    assert theirs["AUROC"] == pytest.approx(found["auroc"], abs=1e-6)
    assert theirs["FPR95TPR"] == pytest.approx(found["fpr95_ood_positive"], abs=1e-6)
    assert theirs["AUPR-IN"] == pytest.approx(variants.trapezoid_aupr(inside, outside, ood_positive=False), abs=1e-6)
    assert theirs["AUPR-OUT"] == pytest.approx(variants.trapezoid_aupr(inside, outside, ood_positive=True), abs=1e-6)


def test_distances_far_from_the_unit_interval_are_not_squashed() -> None:
    """The trap: a float32 sigmoid, as torchmetrics applies it to scores outside [0, 1], is exactly 1 from 17 on.

    Distances and energies then collapse into ties and a perfect detector is called chance. Here nothing is squashed.
    """
    near, far = -np.linspace(20, 30, 50), -np.linspace(40, 60, 50)  # minus distances, perfectly separated
    assert detection_metrics(near, far)["auroc"] == 1.0
    squashed = [-(1 / (1 + np.exp(part.astype(np.float32)))) for part in (near, far)]
    assert detection_metrics(*squashed)["auroc"] == 0.5


@pytest.mark.golden
def test_stored_values_of_the_trap() -> None:
    """Stored float32 results of pytorch-ood with torchmetrics: AUROC 0.5 where logits are large, not so here."""
    arrays = golden_files.load("baselines", "metrics")
    for i in range(int(arrays["n_cases"])):
        inside, outside = arrays[f"logits_id_{i}"].max(1), arrays[f"logits_ood_{i}"].max(1)
        auroc = detection_metrics(inside, outside)["auroc"]
        assert auroc == pytest.approx(arrays[f"openood_{i}"][1], abs=1e-9)
        if min(inside.min(), outside.min()) > 104:  # exp(-104) is 0 in float32
            assert arrays[f"ptood_f32_{i}"][1] == 0.5
            assert auroc != 0.5


RATES = st.fractions(min_value=Fraction(1, 50), max_value=Fraction(49, 50), max_denominator=60)


@settings(max_examples=200, deadline=None)
@given(PAIRS, RATES)
def test_aupr_at_a_base_rate_equals_repeated_samples_and_weights(
    pair: tuple[np.ndarray, np.ndarray], rate: Fraction
) -> None:
    """Every sample of a side is repeated equally often, or has an equal weight, until the share is as stated."""
    inside, outside = pair
    found = detection_metrics(inside, outside, base_rate=rate)
    weight = rate / (1 - rate) * Fraction(len(inside), len(outside))
    repeated = detection_metrics(np.repeat(inside, weight.denominator), np.repeat(outside, weight.numerator))
    assert found == repeated  # to the last bit
    truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    ranks = np.unique(np.concatenate([inside, outside]), return_inverse=True)[1].astype(float)
    weights = np.where(truth == 1, 1.0, float(weight))
    wanted = sklearn_metrics.average_precision_score(truth, ranks, sample_weight=weights)
    assert found["aupr_in"] == pytest.approx(wanted, abs=1e-12)
    wanted = sklearn_metrics.average_precision_score(1 - truth, -ranks, sample_weight=weights)
    assert found["aupr_out"] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("count", [2_000, 10_000, 26_032])
def test_aupr_at_a_base_rate_does_not_depend_on_the_sizes(count: int) -> None:
    """SVHN has 26,032 test images, and Outlier Exposure compares 2,000 OOD images with 10,000 ID images."""
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1.0, 1.0, 10_000), rng.normal(0.0, 1.0, count)
    small = detection_metrics(inside, rng.normal(0.0, 1.0, 2_000), ["aupr_out"])["aupr_out"]
    found = detection_metrics(inside, outside, ["aupr_out"], Fraction(1, 6))["aupr_out"]
    assert found == pytest.approx(small, abs=0.03)
    assert count == 2_000 or detection_metrics(inside, outside, ["aupr_out"])["aupr_out"] > small + 0.1
