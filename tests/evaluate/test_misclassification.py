"""Right against wrong predictions: the metrics, and their resampling."""

import numpy as np
import pandas as pd
import pytest

from reprood.core.errors import ReproodError
from reprood.evaluate.metrics import detection_metrics
from reprood.evaluate.misclassification import Answers, answered, misclassification_metrics, replicate_misclassification
from reprood.evaluate.predictions import Predictions


def a_run(seed: int, count: int = 400) -> Answers:
    random = np.random.default_rng(seed)
    right = random.uniform(size=count) < 0.8
    return Answers(random.normal(size=count) + right, right)


def predictions(ranks: list[int]) -> Predictions:
    table = pd.DataFrame({"split": "test", "label_rank": ranks, "score_msp": np.linspace(0, 1, len(ranks))})
    return Predictions(table, {"benchmark": "b", "method": "erm", "seed": 0})


def test_wrong_predictions_take_the_place_of_ood_samples() -> None:
    run = answered(predictions([0, 3, 0, 0, 1]), "msp")
    assert run.right.tolist() == [True, False, True, True, False]
    assert misclassification_metrics(run) == detection_metrics([0.0, 0.5, 0.75], [0.25, 1.0])


@pytest.mark.parametrize(("ranks", "what"), [([0, 0], "all"), ([1, 2], "no")])
def test_a_run_without_one_of_the_two_is_refused(ranks: list[int], what: str) -> None:
    with pytest.raises(ReproodError, match=f"b/erm/0: {what} test predictions are right"):
        answered(predictions(ranks), "msp")


@pytest.mark.parametrize("metric", ["auroc", "fpr95_ood_positive", "aupr_out"])
def test_a_replicate_is_the_metric_of_the_drawn_images(metric: str) -> None:
    runs = [a_run(1), a_run(2)]
    found = replicate_misclassification([[runs[0]], [runs[1]]], metric, np.random.default_rng(5), 20)
    drawn = np.random.default_rng(5).integers(0, 400, size=(1, 400))[0]
    for run, values, observed in zip(runs, found.resampled, found.observed, strict=True):
        part = Answers(run.score[drawn], run.right[drawn])
        assert values[0, 0] == pytest.approx(misclassification_metrics(part)[metric], abs=1e-12)
        assert observed[0] == misclassification_metrics(run)[metric]
    assert found.n_id + found.n_ood == 400
