"""Inference times: rounds, medians and ratios on small networks, and the figure."""

import numpy as np
import pandas as pd
import pytest
import torch
from layout import problems
from tiny_problem import Net, problem

from reprood.engine.seeds import seeded
from reprood.methods.cnc.method import cnc_score
from reprood.methods.cnc.net import ExtraClass
from reprood.methods.godin import DecomposedConfidence
from reprood.nets.classifier import Classifier
from reprood.report.studies.inference_time import conclude, draw
from reprood.studies import inference_time
from reprood.studies.base import Context
from reprood.studies.inference_time import Config

CPU = torch.device("cpu")


def context() -> Context:
    with seeded(0):
        models = {
            "erm": {seed: Classifier(Net(), 3).eval() for seed in (0, 1)},
            "cnc": {seed: ExtraClass(Net(), 3).eval() for seed in (0, 1)},
            "godin_c": {seed: DecomposedConfidence(Net(), "cosine", 3).eval() for seed in (0, 1)},
        }
    return Context("inference_time", (0, 1), CPU, dict.fromkeys((0, 1), problem(40)), models)


def test_medians_and_ratios_are_of_the_rounds(monkeypatch) -> None:
    clock = iter(np.cumsum([0, *([1] * 100)]).tolist())
    monkeypatch.setattr(inference_time.time, "perf_counter", lambda: next(clock))
    arms = {"msp": lambda images: images, "odin": lambda images: images}
    found = inference_time.timed(arms, [torch.zeros(4, 1), torch.zeros(1, 1)], 3, CPU)
    np.testing.assert_allclose(found["odin"], [200.0] * 3)


@pytest.mark.parametrize("godin", ["", "godin_c"])
def test_measure_and_figure(godin) -> None:
    config = Config(images=50, batch=20, rounds=3, neighbours=5, godin=godin)
    found = inference_time.measure(config, context())
    table = pd.DataFrame(found.rows)
    arms = ["msp", "energy", "odin", "mahalanobis", "knn", "cnc", *(["godin"] if godin else [])]
    assert list(dict.fromkeys(table["arm"])) == arms
    assert len(table) == len(arms) * 2 * 2
    assert bool((table["value"] > 0).all())
    of_msp = table[(table["arm"] == "msp") & (table["metric"] == "ratio_to_msp")]
    assert of_msp["value"].tolist() == [1.0, 1.0]
    for arm in arms:
        times = found.arrays[f"times_{arm}"]
        assert times.shape == (2, 3)
        medians = table[(table["arm"] == arm) & (table["metric"] == "ms_per_image")]["value"]
        np.testing.assert_allclose(medians, np.median(times, axis=1))
    figure = draw(table, found.arrays)
    assert len(figure.axes) == 1
    assert problems(figure) == []
    assert conclude(table).startswith("MSP takes ")


def test_what_is_timed_is_the_score() -> None:
    models, images = context().models, torch.randn(6, 1, 8, 8)
    model = models["cnc"][0]
    with torch.no_grad():
        expected = cnc_score(model.all_logits(images))
    assert torch.equal(inference_time.cnc_score(model)(images), expected)
    quotient = models["godin_c"][0]
    h = quotient.heads(quotient.features(images))[0].amax(1)
    assert bool((inference_time.godin_score(quotient, 0.001)(images) >= h - 1e-6).all())
