"""Open-set metrics against slow definitions, the golden values and their own resampling."""

from itertools import pairwise

import golden_files
import numpy as np
import pytest

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import detection_metrics
from reprood.evaluate.open_set import acceptance_threshold, answers_of, macro_f, oscr, replicate_open_set
from reprood.evaluate.variants import arpl_metrics, arpl_oscr


def softmax(logits: np.ndarray) -> np.ndarray:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(values / values.sum(axis=1, keepdims=True), dtype=np.float32)


def some(chance, classes=4, n=60, m=40, ties=False):
    known, strange = chance.normal(size=(n, classes)), chance.normal(size=(m, classes))
    label = chance.integers(0, classes, n)
    known[np.arange(n), label] += 1.5
    inside, outside = softmax(known).max(1), softmax(strange).max(1)
    if ties:
        inside, outside = inside.round(1), outside.round(1)
    return answers_of(inside, label, known.argmax(1), outside, strange.argmax(1), classes)


def slow_macro_f(answers, threshold):
    """F1 of every label by counting."""
    truth = [*answers.label, *[-1] * len(answers.unknown)]
    said = [p if s > threshold else -1 for s, p in zip(answers.known, answers.prediction)]
    said += [p if s > threshold else -1 for s, p in zip(answers.unknown, answers.unknown_prediction)]
    found = []
    for label in sorted({*truth, *said}):
        both = sum(t == label and s == label for t, s in zip(truth, said))
        found.append(2 * both / (truth.count(label) + said.count(label)))
    return sum(found) / len(found)


def slow_oscr(answers):
    """Every threshold by counting, then trapezoids."""
    points = [(0.0, 0.0)]
    for threshold in sorted({*answers.known, *answers.unknown}, reverse=True):
        right = (answers.known >= threshold) & (answers.label == answers.prediction)
        points.append(((answers.unknown >= threshold).mean(), right.mean()))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_by_counting(ties):
    answers = some(np.random.default_rng(3), ties=ties)
    assert float(oscr(answers)) == pytest.approx(slow_oscr(answers), abs=1e-12)
    for threshold in (0.0, 0.4, 0.6, 1.0):
        assert float(macro_f(answers, threshold)) == pytest.approx(slow_macro_f(answers, threshold), abs=1e-12)


def test_a_label_that_occurs_nowhere_does_not_count():
    answers = answers_of([0.9, 0.9], [0, 0], [0, 0], [0.1], [0], classes=5)
    assert float(macro_f(answers, 0.5)) == 1.0
    assert float(oscr(answers)) == 1.0


def test_resampling_is_repeating_the_images():
    answers = some(np.random.default_rng(5), ties=True)
    chance = np.random.default_rng(6)
    known, unknown = chance.integers(0, 3, (2, len(answers.known))), chance.integers(0, 3, (2, len(answers.unknown)))
    for row in range(2):
        rows, strange = np.repeat(np.arange(60), known[row]), np.repeat(np.arange(40), unknown[row])
        repeated = answers_of(
            answers.known[rows], answers.label[rows], answers.prediction[rows], answers.unknown[strange],
            answers.unknown_prediction[strange], 4,
        )  # fmt: skip
        assert oscr(answers, known, unknown)[row] == pytest.approx(float(oscr(repeated)), abs=1e-12)
        assert macro_f(answers, 0.5, known, unknown)[row] == pytest.approx(float(macro_f(repeated, 0.5)), abs=1e-12)


def test_replicates_are_paired_and_seeded():
    first, second = some(np.random.default_rng(7)), some(np.random.default_rng(8))
    found = replicate_open_set([[first], [first, second]], "oscr", np.random.default_rng(0), 150)
    again = replicate_open_set([[first], [first, second]], "oscr", np.random.default_rng(0), 150)
    assert np.array_equal(found.resampled[0][:, 0], found.resampled[1][:, 0])
    assert np.array_equal(found.resampled[1], again.resampled[1])
    assert found.observed[0][0] == float(oscr(first))
    assert found.resampled[0].std() > 0.01
    assert (found.n_id, found.n_ood) == (60, 40)
    f = replicate_open_set([[first]], "macro_f", np.random.default_rng(0), 20, 0.5)
    assert f.observed[0][0] == float(macro_f(first, 0.5))
    with pytest.raises(ReproodError, match="same test images"):
        replicate_open_set([[first], [some(np.random.default_rng(7), n=50)]], "oscr", np.random.default_rng(0), 10)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (([0.5], [0, 1], [0, 1], [0.5], [0], 2), "a confidence, a label and a prediction"),
        (([0.5], [2], [0], [0.5], [0], 2), "known images of 0 to 1"),
        (([np.nan], [0], [0], [0.5], [0], 2), "not finite"),
        (([0.5], [0], [0], [], [], 2), "and unknown ones"),
    ],
)
def test_bad_columns_are_refused(columns, words):
    with pytest.raises(ReproodError, match=words):
        answers_of(*columns)


@pytest.mark.golden
def test_values_of_the_authors_code():
    arrays = golden_files.load("dias", "osr_metrics")
    cases = int(arrays["n_cases"])
    assert cases > 0
    for i in range(cases):
        known, unknown = softmax(arrays[f"c{i}_logits_known"]), softmax(arrays[f"c{i}_logits_unknown"])
        label, classes = arrays[f"c{i}_labels_known"], int(arrays[f"c{i}_num_classes"])
        answers = answers_of(known.max(1), label, known.argmax(1), unknown.max(1), unknown.argmax(1), classes)
        threshold = acceptance_threshold(classes, float(arrays[f"c{i}_smoothing"]))
        right = answers.prediction == label
        assert threshold == pytest.approx(float(arrays[f"c{i}_f1_threshold"]), abs=1e-9)
        assert 100 * right.mean() == pytest.approx(float(arrays[f"c{i}_closed_set_accuracy_percent"]), abs=1e-6)
        assert float(macro_f(answers, threshold)) == pytest.approx(float(arrays[f"c{i}_macro_f1"]), abs=1e-6)
        found = detection_metrics(answers.known, answers.unknown)
        assert found["auroc"] == pytest.approx(float(arrays[f"c{i}_auroc"]), abs=1e-6)
        if f"c{i}_oscr_exact_definition" in arrays:
            assert float(oscr(answers)) == pytest.approx(float(arrays[f"c{i}_oscr_exact_definition"]), abs=1e-6)
        if f"c{i}_oscr_softmax" in arrays:
            old = arpl_oscr(answers.known, right, answers.unknown)
            assert old == pytest.approx(float(arrays[f"c{i}_oscr_softmax"]), abs=1e-6)
            others = arpl_metrics(answers.known, answers.unknown)
            for name in ("TNR", "AUROC", "DTACC", "AUIN", "AUOUT"):
                assert others[name] == pytest.approx(float(arrays[f"c{i}_ood_{name.lower()}_percent"]), abs=1e-5), name
