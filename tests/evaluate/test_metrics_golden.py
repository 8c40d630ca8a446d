"""Metrics against values computed by the field's code bases."""

import golden_files
import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from reprood.evaluate import variants
from reprood.evaluate.classification import top_k_error
from reprood.evaluate.metrics import detection_metrics
from reprood.predict.forward import label_ranks

pytestmark = pytest.mark.golden


def cases() -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    arrays = golden_files.load("baselines", "metrics")
    found = []
    for i in range(int(arrays["n_cases"])):
        logits = arrays[f"logits_id_{i}"]
        right = logits.argmax(1) == arrays[f"labels_id_{i}"]
        found.append((i, logits.max(1), right, arrays[f"logits_ood_{i}"].max(1), arrays))
    assert found
    return found


def openood_fpr(inside: np.ndarray, outside: np.ndarray, *, ood_positive: bool) -> float:
    """The rate at the first of scikit-learn's ROC vertices with a true positive rate of at least 95 %."""
    truth, scores = np.r_[np.ones(len(inside)), np.zeros(len(outside))], np.r_[inside, outside]
    fpr, tpr, _ = sklearn_metrics.roc_curve(*((1 - truth, -scores) if ood_positive else (truth, scores)))
    return float(fpr[np.argmax(tpr >= 0.95)])


def openood_metrics(inside: np.ndarray, outside: np.ndarray) -> list[float]:
    """fpr95 (OOD positive), auroc, aupr_in, aupr_out; areas by the trapezoid rule."""
    areas = [variants.trapezoid_aupr(inside, outside, ood_positive=positive) for positive in (False, True)]
    return [openood_fpr(inside, outside, ood_positive=True), detection_metrics(inside, outside)["auroc"], *areas]


def untied(first: np.ndarray, second: np.ndarray) -> bool:
    return len(np.unique(np.concatenate([first, second]))) == len(first) + len(second)


def test_exact() -> None:
    for i, inside, right, outside, arrays in cases():
        found = detection_metrics(inside, outside)
        assert found["fpr95_id_positive"] == pytest.approx(float(arrays[f"exact_fpr95_idpos_{i}"]), abs=1e-9)
        assert found["fpr95_ood_positive"] == pytest.approx(float(arrays[f"exact_fpr95_oodpos_{i}"]), abs=1e-9)
        assert 1 - found["detection_error"] == pytest.approx(float(arrays[f"exact_dtacc_{i}"]), abs=1e-9)
        assert variants.oscr(inside, right, outside) == pytest.approx(float(arrays[f"exact_oscr_{i}"]), abs=1e-9)


def test_openood() -> None:
    for i, inside, right, outside, arrays in cases():
        values = [*openood_metrics(inside, outside), right.mean()]
        np.testing.assert_allclose(values, arrays[f"openood_{i}"], rtol=0, atol=1e-9)
        assert detection_metrics(inside, outside)["auroc"] == pytest.approx(arrays[f"openood_{i}"][1], abs=1e-9)
        accepted = openood_fpr(inside, outside, ood_positive=False)
        assert accepted == pytest.approx(arrays[f"openood_fpr_idpos_{i}"][0], abs=1e-9)


def test_pytorch_ood_where_it_is_right() -> None:
    """Its torchmetrics passes scores outside [0, 1] through a sigmoid: right only while that makes no ties."""
    compared = 0
    for i, inside, _, outside, arrays in cases():
        values = openood_metrics(inside, outside)
        reach = max(np.abs(inside).max(), np.abs(outside).max())
        if reach < 15:
            compared += 1
            np.testing.assert_allclose(values, arrays[f"ptood_f64_{i}"], rtol=0, atol=1e-6)
            if reach < 6:  # in float32 a few close scores may tie
                np.testing.assert_allclose(values, arrays[f"ptood_f32_{i}"], rtol=0, atol=1e-3)
    assert compared


def test_outlier_exposure_and_hood() -> None:
    for i, inside, _, outside, arrays in cases():
        found = detection_metrics(inside, outside)
        values = [variants.oe_fpr(inside, outside), found["auroc"], found["aupr_out"]]
        np.testing.assert_allclose(values, arrays[f"oe_hood_{i}"], rtol=0, atol=1e-9)


def test_arpl_without_ties() -> None:
    compared = 0
    for i, inside, right, outside, arrays in cases():
        if not untied(inside, outside):
            continue
        compared += 1
        np.testing.assert_allclose(
            list(variants.arpl_metrics(inside, outside).values()), arrays[f"arpl_{i}"], rtol=0, atol=1e-9
        )
        oscr = variants.arpl_oscr(inside, right, outside)
        assert oscr == pytest.approx(float(arrays[f"oscr_{i}"]), abs=1e-9)
    assert compared


def test_wisconsin_and_vim_codes() -> None:
    """Rules of two more code bases, written out here only: they document a disagreement."""
    for i, inside, _, outside, arrays in cases():
        ascending = np.sort(inside)
        threshold = ascending[round(0.05 * len(inside))]
        assert np.mean(outside > threshold) == pytest.approx(arrays[f"wisc_{i}"][0], abs=1e-9)
        threshold = ascending[::-1][max(int(0.95 * len(inside)) - 1, 0)]
        rate, stored = arrays[f"vim_fpr_{i}"]
        assert (np.mean(outside >= threshold), threshold) == pytest.approx((rate, stored), abs=1e-9)


def test_generalized_odin() -> None:
    arrays = golden_files.load("godin", "metrics")
    assert int(arrays["n_cases"]) > 0
    for i in range(int(arrays["n_cases"])):
        inside, outside = arrays[f"id_{i}"], arrays[f"ood_{i}"]
        assert detection_metrics(inside, outside)["auroc"] == pytest.approx(float(arrays[f"auroc_{i}"]), abs=1e-12)
        rejected = 1 - openood_fpr(inside, outside, ood_positive=False)
        assert rejected == pytest.approx(float(arrays[f"tnr95_{i}"]), abs=1e-12)


def test_top_k_error() -> None:
    arrays = golden_files.load("cutmix", "topk_error")
    for i in range(int(arrays["n_cases"])):
        ranks = label_ranks(*(torch.from_numpy(arrays[f"c{i}_{name}"]) for name in ("logits", "y"))).numpy()
        for k in (1, 5):
            assert top_k_error(ranks, k) == pytest.approx(float(arrays[f"c{i}_err{k}"][0]), abs=1e-4)
