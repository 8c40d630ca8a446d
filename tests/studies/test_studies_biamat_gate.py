"""The study of BiaMAT's gate: shares by hand, what is refused, the figure."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from layout import problems
from pydantic import ValidationError
from tiny_problem import Net, image_set, problem
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.images.augment import normalise
from reprood.methods.biamat import method as biamat
from reprood.report.studies.biamat_gate import conclude, draw
from reprood.studies.base import Context
from reprood.studies.biamat_gate import Config, confidences, measure


def context(threshold: float = 0.4) -> Context:
    models: dict[str, dict[int, nn.Module]] = {"biamat": {}, "biamat_far": {}}
    for method, by_seed in models.items():
        for seed in (0, 1):
            with seeded(seed + len(method)):
                by_seed[seed] = biamat.build(biamat.Config(), Net(), 3).eval()
            with torch.no_grad():
                by_seed[seed].head.weight.mul_(20)
            by_seed[seed].threshold.fill_(threshold)
    task = replace(problem(40), auxiliary={"near": image_set(30, seed=5), "far": image_set(20, seed=6)})
    return Context("gate", (0, 1), torch.device("cpu"), dict.fromkeys((0, 1), task), models)


def test_shares_by_hand() -> None:
    task = context()
    found = measure(Config(images=25), task)
    assert found.rows == measure(Config(images=25), task).rows
    values = {(row["arm"], row["metric"], row["seed"]): row["value"] for row in found.rows}
    assert {arm for arm, _, _ in values} == {"near", "far", "primary_near", "primary_far"}
    near = task.problem(0).auxiliary["near"].images[:25]
    with torch.no_grad():
        logits = task.models["biamat"][1](normalise(near, (0.4,), (0.2,)))
    sure = logits.softmax(1).amax(1)
    assert values["near", "in_share", 1] == pytest.approx(float((sure >= 0.4).float().mean()))
    assert values["near", "confidence", 1] == pytest.approx(float(sure.mean()), abs=1e-5)
    assert values["far", "threshold", 0] == pytest.approx(0.4)
    assert found.arrays["confidence_far"].sum() == 20
    assert len(confidences(task.models["biamat"][0], near[:3], (0.4,), (0.2,))) == 3
    figure = draw(pd.DataFrame(found.rows), found.arrays)
    assert problems(figure) == []
    assert conclude(pd.DataFrame(found.rows)).startswith("The gate lets ")
    assert len(figure.axes) == 3


def test_thresholds_at_the_ends() -> None:
    for threshold, share in ((1e-9, 1.0), (1.1, 0.0)):
        rows = measure(Config(), context(threshold)).rows
        assert {row["value"] for row in rows if row["metric"] == "in_share"} == {share}
    assert np.isfinite([row["value"] for row in rows]).all()


def test_sets_and_methods_are_pairs() -> None:
    for changes in ({"sets": ("near",)}, {"sets": (), "methods": ()}, {"sets": ("near", "near")}):
        with pytest.raises(ValidationError, match="same length, at least one"):
            Config(**changes)


@pytest.mark.parametrize(
    ("task", "config", "words"),
    [
        (context(0.0), Config(), "'biamat' has no threshold"),
        (
            context(),
            Config(sets=("noise",), methods=("biamat",)),
            "no auxiliary set 'noise'; the benchmark has near, far",
        ),
        (context(), Config(sets=("near",), methods=("biamat_naive",)), "biamat_naive"),
    ],
)
def test_errors(task: Context, config: Config, words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        measure(config, task)
