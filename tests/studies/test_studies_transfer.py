"""Transfer to detection and captioning: pairing of the arms, numbers, photographs on disk, figures, mistakes."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from layout import problems
from tiny_photographs import save_coco, save_voc
from tiny_problem import save_benchmark, settings
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.nets import imagenet_resnet, wrn
from reprood.nets.box_detectors import FasterRcnnSettings, SsdSettings
from reprood.nets.captioner import CaptionerSettings
from reprood.nets.classifier import Classifier
from reprood.report.studies import captioning as captioning_figure
from reprood.report.studies import detection as detection_figure
from reprood.studies import captioning, detection
from reprood.studies.base import Context
from reprood.studies.run import run_study
from reprood.studies.transfer import SceneSettings
from reprood.train.run import train_run

pytest.importorskip("pycocotools")
pytest.importorskip("pycocoevalcap")

ARMS = {"erm": "erm", "cutmix": "cutmix"}
BRIEF = Training(epochs=1, batch_size=4, lr=0.01, schedule="constant")
SCENES = SceneSettings(classes="MNO", train=8, test=6)


def context(state: Path, channels: int = 1, seeds: tuple[int, ...] = (0, 1)) -> Context:
    """Classifiers of two arms: those of `cutmix` are others than those of `erm`, unless `state` is named "same"."""

    def model(seed: int) -> nn.Module:
        with seeded(seed):
            if channels == 3:
                return Classifier(imagenet_resnet.build(3, depth=18, base=4), 3).eval()
            return Classifier(wrn.build(1, depth=10, width=0.25, stem_stride=2), 3).eval()

    other = 0 if state.name == "same" else 10
    models = {"erm": {seed: model(seed) for seed in seeds}, "cutmix": {seed: model(seed + other) for seed in seeds}}
    record = {"channels": channels, "mean": (0.4,) * channels, "std": (0.2,) * channels}
    records = {arm: dict.fromkeys(seeds, record) for arm in models}
    return Context("transfer", seeds, torch.device("cpu"), models=models, state=state, records=records)


def detectors(**changes: object) -> detection.Config:
    values = {
        "arms": ARMS, "scenes": SCENES, "ssd_training": BRIEF, "faster_rcnn_training": BRIEF, "batch": 4, "shown": 2,
        "ssd": SsdSettings(score_threshold=0.0), "faster_rcnn": FasterRcnnSettings(proposals=10, score_threshold=0.0),
    }  # fmt: skip
    return detection.Config(**{**values, **changes})


def captions(**changes: object) -> captioning.Config:
    shape = CaptionerSettings(grid=4, embedding=8, hidden=12, attended=8)
    values = {"arms": ARMS, "scenes": SCENES, "training": BRIEF, "captioner": shape, "shown": 2, "longest": 8}
    return captioning.Config(**{**values, **changes})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "config", "figure"),
    [
        (detection, detectors(), detection_figure),
        (captioning, captions(), captioning_figure),
    ],
)
def test_measure_and_figure(tmp_path, study, config, figure):
    """Equal classifiers give equal numbers in both arms, because everything else is shared; others do not."""
    task = context(tmp_path / "same", seeds=(0,))
    before = copy.deepcopy(task.models["erm"][0].state_dict())
    same = pd.DataFrame(study.measure(config, task).rows)
    left, right = (same.loc[same["arm"] == arm, "value"].to_numpy() for arm in ARMS)
    np.testing.assert_array_equal(left, right)
    assert all(torch.equal(value, before[name]) for name, value in task.models["erm"][0].state_dict().items())

    found = study.measure(config, context(tmp_path / "a"))
    again = study.measure(config, context(tmp_path / "b"))
    assert found.rows == again.rows
    finished = study.measure(config, context(tmp_path / "a"))  # its trainings are read from their checkpoints
    assert found.rows == finished.rows
    rows = pd.DataFrame(found.rows)
    assert set(rows["seed"]) == {0, 1}
    assert np.isfinite(rows["value"]).all()
    assert rows.loc[(rows["arm"] == "data") & (rows["metric"] == "test_images"), "value"].tolist() == [6, 6]
    assert set(rows["metric"]) <= set(figure.METRICS)
    assert found.arrays["shown"].shape == (2, 64, 64, 1)
    assert sum(array.nbytes for array in found.arrays.values()) < 2_000_000
    drawn = figure.draw(rows, found.arrays)
    assert problems(drawn) == []
    assert "Baseline" in figure.conclude(rows)


def test_a_study_without_data_reads_finished_runs_alone(tmp_path):
    """The images of the benchmark are not there when the study runs."""
    data = save_benchmark(tmp_path / "data")
    for seed in (0, 1):
        out = tmp_path / f"runs/bench/arm/{seed}"
        train_run({**settings(), "seed": seed}, data=data, out=out, state=tmp_path / "state" / str(seed), device="cpu")
    chosen = captions(arms={"erm": "arm"}).model_dump(mode="json")
    record = {
        "name": "s", "use": "captioning", "set": chosen, "seeds": [0, 1], "suite_seed": 0, "benchmarks": ["bench"] * 2,
        "methods": ["arm"], "auxiliary": [], "folders": {}, "backbone": {}, "data": False,
    }  # fmt: skip
    run_study(record, data=tmp_path / "none", root=tmp_path, out=tmp_path / "out", state=tmp_path / "s", device="cpu")
    rows = pd.read_csv(tmp_path / "out/values.csv")
    assert set(rows["seed"]) == {0, 1}
    assert set(rows["arm"]) == {"erm", "data"}
    with pytest.raises(ReproodError, match="none/bench/train"):
        run_study({**record, "data": True}, data=tmp_path / "none", root=tmp_path, out=tmp_path, state=tmp_path)


def test_detection_on_voc(tmp_path):
    folder = str(save_voc(tmp_path / "VOCdevkit", width=48, height=40))
    voc = detection.Voc(folder=folder, train=((2007, "trainval"),))
    settings = detectors(
        voc=voc, augment="ssd", threads=2, detectors=("ssd",),
        ssd=SsdSettings(score_threshold=0.0, scales=(0.2, 0.5, 0.9)),
    )  # fmt: skip
    found = detection.measure(settings, context(tmp_path, channels=3, seeds=(0,)))
    assert found.arrays["shown"].shape == (2, 40, 48, 3)
    assert len(found.arrays["classes"]) == 20
    assert problems(detection_figure.draw(pd.DataFrame(found.rows), found.arrays)) == []
    with pytest.raises(ReproodError, match="does not exist; unpack Pascal VOC 2012"):
        detection.measure(detectors(voc=detection.Voc(folder=folder)), context(tmp_path, channels=3))


def test_captioning_on_coco_without_attention(tmp_path):
    coco = captioning.Coco(folder=str(save_coco(tmp_path / "coco", width=48, height=40)), train="train", test="val")
    shape = CaptionerSettings(attention=False, embedding=8, hidden=12)
    settings = captions(coco=coco, size=32, captioner=shape, rarest=2, threads=2)
    found = captioning.measure(settings, context(tmp_path, channels=3, seeds=(0,)))
    rows = pd.DataFrame(found.rows)
    words = rows.loc[rows["metric"] == "words", "value"].item()
    assert words == 4 + len({"a", "dog", "near", "red", "car", "and", "two", "cats", "2", "on", "sofa"})
    figure = captioning_figure.draw(rows, found.arrays)
    assert problems(figure) == []
    assert captioning_figure.conclude(rows).endswith("METEOR: not computed.")


def test_words():
    words = captioning.Vocabulary.of([("A dog.", "a cat"), ("A dog!",)], rarest=2)
    assert words.words == ("a", "dog")
    assert words.numbers("a dog, a cat") == [4, 5, 4, 3]
    assert words.text([5, 4]) == "dog a"


def test_flips_mirror_boxes():
    image, target = detection.flip(torch.arange(6.0).view(1, 2, 3), {"boxes": torch.tensor([[0.0, 0, 1, 2]])})
    assert image[0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert target["boxes"].tolist() == [[2, 0, 3, 2]]


def test_mistakes(tmp_path):
    task = context(tmp_path)
    with pytest.raises(ReproodError, match="needs trained models of 'mixup'"):
        detection.measure(detectors(arms={"mixup": "mixup"}), task)
    with pytest.raises(ReproodError, match="images have 1 channels, the classifiers were trained on 3"):
        captioning.measure(captions(), context(tmp_path, channels=3))
    mixed = replace(task, records={**task.records, "cutmix": {0: {**task.records["erm"][0], "channels": 3}}})
    with pytest.raises(ReproodError, match="takes images of 3 channels, the first one of 1"):
        captioning.measure(captions(), mixed)
    with pytest.raises(ReproodError, match="the model of 'erm' is a Identity; name methods"):
        captioning.measure(captions(), replace(task, models={"erm": {0: nn.Identity()}}))
