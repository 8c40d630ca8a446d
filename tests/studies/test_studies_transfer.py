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
from reprood.data.coco_captions import Coco
from reprood.data.photographs import BoxedImages
from reprood.data.voc import Voc
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.nets import imagenet_resnet, wrn
from reprood.nets.box_detectors import FasterRcnnSettings, SsdSettings
from reprood.nets.captioner import CaptionerSettings
from reprood.nets.classifier import Classifier
from reprood.report.studies import captioning as captioning_figure
from reprood.report.studies import detection as detection_figure
from reprood.studies import captioning, detection, transfer
from reprood.studies.base import Context, Findings
from reprood.studies.run import run_study
from reprood.studies.transfer import SceneSettings
from reprood.train.run import train_run

pytest.importorskip("pycocotools")
pytest.importorskip("pycocoevalcap")

ARMS = {"erm": "erm", "cutmix": "cutmix"}
BRIEF = Training(epochs=1, batch_size=4, lr=0.01, schedule="constant")
SCENES = SceneSettings(classes="MNO", train=8, test=6)
FEW_PROPOSALS = FasterRcnnSettings(train_proposals=(20, 10), test_proposals=(20, 10), score_threshold=0.0)


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
        "ssd": SsdSettings(score_threshold=0.0), "faster_rcnn": FEW_PROPOSALS,
    }  # fmt: skip
    return detection.Config(**{**values, **changes})


def captions(**changes: object) -> captioning.Config:
    shape = CaptionerSettings(grid=4, embedding=8, hidden=12, attended=8)
    values = {"arms": ARMS, "scenes": SCENES, "training": BRIEF, "captioner": shape, "shown": 2, "max_length": 8}
    return captioning.Config(**{**values, **changes})


def both_arms(findings: Findings) -> list[tuple[dict[str, float], dict[str, np.ndarray]]]:
    """Return numbers by metric and arrays by name, of each arm, for the first seed."""
    rows = pd.DataFrame(findings.rows)
    first = rows[rows["seed"] == rows["seed"].iloc[0]]
    arms = [(arm, first[first["arm"] == arm].set_index("metric")["value"].to_dict()) for arm in ARMS]
    ends = {arm: [name for name in findings.arrays if name.endswith(f"_{arm}")] for arm in ARMS}
    return [(numbers, {name.removesuffix(arm): findings.arrays[name] for name in ends[arm]}) for arm, numbers in arms]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "config", "figure", "metrics"),
    [
        (detection, detectors(), detection_figure, ["ssd_voc_map", "faster_rcnn_voc_map"]),
        (captioning, captions(), captioning_figure, ["bleu1", "cider"]),
    ],
)
def test_measure_and_figure(tmp_path, monkeypatch, study, config, figure, metrics):
    """Equal classifiers give equal numbers in both arms, because everything else is shared; others do not."""
    monkeypatch.setattr(detection, "CERTAIN", 0.1)  # after so brief a training
    seeds = (1, 2)
    task = context(tmp_path / "same", seeds=seeds[:1])
    before = copy.deepcopy(task.models["erm"][1].state_dict())
    (left, shown), (right, equal) = both_arms(study.measure(config, task))
    assert all(left[metric] > 0 for metric in metrics)
    assert left == right
    assert all(len(array) for array in shown.values())
    assert shown.keys() == equal.keys()
    for name, array in shown.items():
        np.testing.assert_array_equal(array, equal[name])
    assert all(torch.equal(value, before[name]) for name, value in task.models["erm"][1].state_dict().items())

    found = study.measure(config, context(tmp_path / "a", seeds=seeds))
    again = study.measure(config, context(tmp_path / "b", seeds=seeds))
    assert found.rows == again.rows
    finished = study.measure(config, context(tmp_path / "a", seeds=seeds))  # from the trainings' checkpoints
    assert found.rows == finished.rows
    (left, shown), (right, other) = both_arms(found)
    assert all(left[metric] != right[metric] for metric in metrics)
    assert not any(np.array_equal(array, other[name]) for name, array in shown.items())
    rows = pd.DataFrame(found.rows)
    assert set(rows["seed"]) == set(seeds)
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


def test_labels_of_detectors_begin_at_1():
    """0 is the background of torchvision's detectors; difficult objects are no targets."""
    boxes = np.array([[0, 0, 4, 4], [1, 1, 3, 3]], np.float32)
    data = BoxedImages(
        lambda row: np.zeros((8, 8, 1), np.uint8),
        [boxes],
        [np.array([2, 0])],
        [np.array([False, True])],
        ("a", "b", "c"),
    )
    target = detection.target_of(data, 0, torch.device("cpu"))
    assert target["labels"].tolist() == [3]
    assert target["boxes"].tolist() == [[0, 0, 4, 4]]

    class Finds(nn.Module):
        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            return [{"boxes": torch.ones(1, 4), "labels": torch.tensor([3]), "scores": torch.ones(1)} for _ in images]

    (found,) = detection.detect(Finds(), data, 1, torch.device("cpu"), batch=4)
    assert found.labels.tolist() == [2]


def test_detection_on_voc(tmp_path):
    folder = str(save_voc(tmp_path / "VOCdevkit", width=48, height=40))
    voc = Voc(folder=folder, train=((2007, "trainval"),))
    settings = detectors(
        voc=voc, augment="ssd", threads=2, detectors=("ssd",),
        ssd=SsdSettings(score_threshold=0.0, scales=(0.2, 0.5, 0.9)),
    )  # fmt: skip
    found = detection.measure(settings, context(tmp_path, channels=3, seeds=(0,)))
    assert found.arrays["shown"].shape == (2, 40, 48, 3)
    assert len(found.arrays["classes"]) == 20
    notes = [str(note).partition(":")[0] for note in found.arrays["notes"]]
    assert notes == ["Pascal VOC 2007 trainval", "Pascal VOC 2007 test"]
    assert problems(detection_figure.draw(pd.DataFrame(found.rows), found.arrays)) == []
    with pytest.raises(ReproodError, match="does not exist; unpack Pascal VOC 2012"):
        detection.measure(detectors(voc=Voc(folder=folder)), context(tmp_path, channels=3))
    with pytest.raises(ReproodError, match="augment 'ssd' is for colour images, and the classifiers take images of 1"):
        detection.measure(settings, context(tmp_path))


def test_captioning_on_coco_without_attention(tmp_path, monkeypatch):
    """METEOR is asked for where Java is not installed."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    coco = Coco(folder=str(save_coco(tmp_path / "coco", width=48, height=40)), train="train", test="val")
    shape = CaptionerSettings(attention=False, embedding=8, hidden=12)
    settings = captions(coco=coco, size=32, captioner=shape, min_count=2, threads=2, meteor=True)
    found = captioning.measure(settings, context(tmp_path, channels=3, seeds=(0,)))
    rows = pd.DataFrame(found.rows)
    words = rows.loc[rows["metric"] == "words", "value"].item()
    assert words == len({"a", "dog", "near", "red", "car", "and", "two", "cats", "2", "on", "sofa"})
    figure = captioning_figure.draw(rows, found.arrays)
    assert problems(figure) == []
    assert captioning_figure.conclude(rows).endswith("METEOR: not computed.")
    assert found.arrays["notes"][-1] == captioning.NO_METEOR


def test_words():
    words = captioning.Vocabulary.of([("A dog.", "a cat"), ("A dog!",)], min_count=2)
    assert words.words == ("a", "dog")
    assert words.numbers("a dog, a cat") == [4, 5, 4, 3]
    assert words.text([5, 4]) == "dog a"


def test_first_images_are_cut_to_the_smallest_size():
    sizes = [(4, 6), (5, 3), (2, 2)]
    images = transfer.first_images(lambda row: np.full((*sizes[row], 1), row, np.uint8), 2)
    assert images.shape == (2, 4, 3, 1)
    assert images[:, 0, 0, 0].tolist() == [0, 1]


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
    with pytest.raises(ValueError, match="generated scenes are grey; use 'flip'"):
        detectors(augment="ssd")
    for changes in ({"augment": "flip"}, {"ema": 0.9}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} is .*, which studies of transfer do not have"):
            captions(training=BRIEF.model_copy(update=changes))
