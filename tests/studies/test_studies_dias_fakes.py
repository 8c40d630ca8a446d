"""The study of DIAS' fakes: judgements against their definitions, its numbers, its figure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from layout import problems
from tiny_problem import image_set, problem

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.dias import method as dias
from reprood.methods.dias.dcgan import Generator
from reprood.methods.dias.net import Networks, StagedClassifier
from reprood.nets.staged import build
from reprood.report.studies.dias_fakes import conclude, draw
from reprood.studies import dias_fakes
from reprood.studies.base import Context
from reprood.studies.dias_fakes import Config, classify_fakes

METHOD = dias.Config(training=Training(epochs=2, batch_size=16, lr=0.05, crop_padding=1), gan_width=2, noise=5)


def context(tmp_path: Path, channels: int = 1, seeds: tuple[int, ...] = (0, 1)) -> Context:
    task = replace(problem(40, size=8, channels=channels), backbone=lambda: build(channels, width=2))
    return Context("fakes", seeds, torch.device("cpu"), dict.fromkeys(seeds, task), state=tmp_path)


def test_judgements_against_their_definitions() -> None:
    with seeded(0):
        classifier, copycat = (StagedClassifier(build(1, width=2), 3).eval() for _ in range(2))
        generator = Generator(5, 1, 8, 2).eval()
    data = image_set(7)
    noise = torch.randn(7, 5, 1, 1, generator=torch.Generator().manual_seed(0))
    found = classify_fakes(Networks(classifier, copycat, generator), data, noise, batch=3)
    for k in range(7):
        real = data.images[k : k + 1].float() / 255
        first, second, features = copycat.outputs(real)
        logits = {
            "known": classifier(real),
            "hard_first": classifier.logits_from(first, 1),
            "hard_second": classifier.logits_from(second, 2),
            "moderate": classifier(generator(noise[k : k + 1])),
            "easy": features @ classifier.head.weight.T,
        }
        for arm, values in logits.items():
            assert float(found[arm].confidence[k]) == pytest.approx(float(values.detach().softmax(1).max()), abs=1e-5)
            assert int(found[arm].answer[k]) == int(values.argmax())
    assert torch.equal(found["hard"].confidence[7:], found["hard_second"].confidence)


def test_a_perfect_copycat_makes_known_images(tmp_path) -> None:
    with seeded(0):
        classifier = StagedClassifier(build(1, width=2), 3).eval()
        generator = Generator(5, 1, 8, 2).eval()
    found = classify_fakes(Networks(classifier, classifier, generator), image_set(6), torch.randn(6, 5, 1, 1), 10)
    for arm in ("hard_first", "hard_second", "easy"):
        torch.testing.assert_close(found[arm].confidence, found["known"].confidence)
    assert dias_fakes.gaps(Networks(classifier, classifier), image_set(6), 4) == {"first": 0, "second": 0}


@pytest.mark.parametrize("channels", [1, 3])
def test_measure_and_figure(tmp_path, channels) -> None:
    config = Config(method=METHOD, batch=7, shown=4)
    found = dias_fakes.measure(config, context(tmp_path / "a", channels))
    assert dias_fakes.measure(config, context(tmp_path / "b", channels)).rows == found.rows
    rows = pd.DataFrame(found.rows)
    assert np.isfinite(rows["value"]).all()
    assert set(rows["seed"]) == {0, 1}
    assert set(rows.loc[rows["metric"] == "confidence", "arm"]) == {
        "known", "hard", "hard_first", "hard_second", "moderate", "easy"
    }  # fmt: skip
    one = rows[rows["seed"] == 0].set_index(["arm", "metric"])["value"]
    assert one["chance", "agreement"] == pytest.approx(100 / 3)
    for metric in ("confidence", "agreement"):
        mean = (one["hard_first", metric] + one["hard_second", metric]) / 2
        assert one["hard", metric] == pytest.approx(mean)
    assert rows.loc[rows["metric"] == "confidence", "value"].between(100 / 3, 100).all()
    arrays = found.arrays
    assert arrays["confidence_easy"].sum() == 20
    assert arrays["source"].shape == arrays["generated"].shape == (4, 8, 8, channels)
    assert arrays["map_classifier"].shape == arrays["map_copycat"].shape == (4, 4, 4)
    assert all(arrays[name].dtype == np.uint8 for name in ("source", "generated", "map_classifier", "map_copycat"))
    figure = draw(rows, arrays)
    assert len(figure.axes) == 7
    assert problems(figure) == []
    assert conclude(rows).startswith("Confidence of a plain classifier")


def test_the_classifier_never_learns_from_fakes(tmp_path, monkeypatch) -> None:
    configs = []
    inner = dias.train_networks

    def spy(task, config, run):
        configs.append(config)
        return inner(task, config, run)

    monkeypatch.setattr(dias, "train_networks", spy)
    few = METHOD.model_copy(update={"levels": ("easy",)})
    dias_fakes.measure(Config(method=few), context(tmp_path, seeds=(0,)))
    assert [(config.learn, set(config.levels)) for config in configs] == [(False, {"easy", "moderate", "hard"})]


def test_without_data() -> None:
    with pytest.raises(ReproodError, match="needs data"):
        dias_fakes.measure(Config(method=METHOD), Context("fakes", (0,), torch.device("cpu")))
