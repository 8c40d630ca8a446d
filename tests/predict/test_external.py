"""Outputs that were computed elsewhere become a run; what does not fit is refused in one sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reprood.config.benchmark import Benchmark
from reprood.config.external import External, check_external, condition_limits, run_path
from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.data.arrays import load_split, save_split
from reprood.evaluate.localisation import ENDS
from reprood.evaluate.outputs import load_outputs
from reprood.evaluate.run import evaluate_outputs
from reprood.predict.external import adopt, ranks
from reprood.predict.forward import label_ranks
from reprood.predict.given import BOXES, given_boxes
from reprood.report.records import ModelRecord, RunRecord, checked

SIZES = {"train": 9, "validation": 6, "test": 8, "far": 5}
CLASSES = 3
SOURCE = {"dataset": "letters", "split": "test"}
BENCHMARK = Benchmark.model_validate(
    {
        "title": "Toy", "preparation": {"size": 8, "channels": 1}, "train": SOURCE, "validation": SOURCE,
        "test": SOURCE, "ood": {"far": {**SOURCE, "shift": "far"}},
        "evaluations": ["classification", "detection", "adversarial"],
        "attacks": {"fgsm": {"kind": "fgsm", "eps": 0.1, "limit": 4}},
        "detectors": {"energy": {}, "knn": {"k": 2}, "vim": {}},
    }
)  # fmt: skip


def given(random: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """Return logits, features, one score and labels of every split, and logits of the attacked images."""
    sizes = SIZES | {"attacked/fgsm": 4}
    found = {
        name: {
            "logits": random.normal(size=(n, CLASSES)),
            "features": random.normal(size=(n, 4)),
            "score_own": random.normal(size=n),
            "label": np.arange(n) % CLASSES,
        }
        for name, n in sizes.items()
    }
    del found["attacked/fgsm"]["features"], found["attacked/fgsm"]["score_own"]
    return found


class Toy:
    """A benchmark's prepared splits, and a folder of given outputs."""

    def __init__(self, root: Path) -> None:
        self.data, self.folder, self.out = root / "data", root / "mine" / "0", root / "run"
        for name, size in SIZES.items():
            labels = np.full(size, -1) if name == "far" else np.arange(size) % CLASSES
            images = np.zeros((size, 8, 8, 1), np.uint8)
            save_split(self.data / name, images, labels, {}, {"classes": ["a", "b", "c"]})
        self.outputs = given(np.random.default_rng(0))
        self.write()

    def write(self) -> None:
        for name, values in self.outputs.items():
            path = self.folder / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **values)

    def adopt(self, **changes) -> None:
        settings = {
            "benchmark": "toy", "method": "mine", "seed": 0, "splits": list(SIZES),
            "external": {"folder": str(self.folder), "network": "ViT-B/16"}, "conditions": condition_limits(BENCHMARK),
            "features": True, "passes": [],
        }  # fmt: skip
        adopt({**settings, **changes}, self.data, self.out, self.out, "0123")


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path)


def test_given_outputs_are_stored_evaluated_and_described(toy):
    np.savez(toy.folder / "head.npz", weight=np.eye(CLASSES, 4), bias=np.zeros(CLASSES))
    toy.adopt()
    raw = load_outputs(toy.out, features=True)
    assert list(raw.splits) == ["validation", "test", "far"]
    for name, stored in raw.splits.items():
        np.testing.assert_array_equal(stored.logits, toy.outputs[name]["logits"].astype(np.float32))
        np.testing.assert_allclose(stored.features, toy.outputs[name]["features"], rtol=1e-3, atol=1e-6)
    evaluate_outputs(toy.out, BENCHMARK, "toy", "mine", 0)
    metrics = pd.read_csv(toy.out / "metrics.csv").set_index(["split", "score", "metric"])["value"]
    wrong = toy.outputs["test"]["logits"].argmax(1) != np.arange(8) % CLASSES
    assert metrics["test", "-", "top1_error"] == pytest.approx(100 * wrong.mean())
    ours, theirs = (toy.outputs[name]["score_own"] for name in ("test", "far"))
    assert metrics["far", "own", "auroc"] == pytest.approx((ours[:, None] > theirs).mean())
    attacked = toy.outputs["attacked/fgsm"]["logits"].argmax(1) != np.arange(4) % CLASSES
    assert metrics["attacked/fgsm", "-", "top1_error"] == pytest.approx(100 * attacked.mean())
    assert {"msp", "energy", "knn", "vim", "own"} <= set(metrics.index.get_level_values("score"))
    record = checked(toy.out / "run.json", RunRecord)
    assert record["trained_here"] is False
    assert record["device"] == "not trained here"
    assert set(record["outputs"]["files"]) == {f"{n}.npz" for n in (*SIZES, "attacked/fgsm", "head")}
    assert checked(toy.out / "model.json", ModelRecord)["backbone"]["name"] == "ViT-B/16"
    assert read_json(toy.out / "run.json")["phases"] == []


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_hold_the_same_as_archives(toy, ending):
    toy.adopt()
    stored = load_outputs(toy.out, features=True).splits
    for name, values in toy.outputs.items():
        table = pd.DataFrame({"score_own": values["score_own"]} if "score_own" in values else {})
        table["label"] = values["label"]
        for kind in ("logits", "features"):
            if kind in values and ending == ".parquet" and kind == "logits":
                table[kind] = list(values[kind])
            elif kind in values:
                table[[f"{kind}_{i}" for i in range(values[kind].shape[1])]] = values[kind]
        (toy.folder / f"{name}.npz").unlink()
        path = toy.folder / f"{name}{ending}"
        table.to_csv(path, index=False) if ending == ".csv" else table.to_parquet(path)
    toy.adopt()
    again = load_outputs(toy.out, features=True).splits
    for name, outputs in stored.items():
        np.testing.assert_array_equal(outputs.logits, again[name].logits)
        np.testing.assert_array_equal(outputs.features, again[name].features)


def test_ranks_are_those_of_the_predict_stage():
    random = np.random.default_rng(0)
    logits, labels = random.integers(0, 3, size=(50, 4)).astype(np.float32), random.integers(-1, 4, size=50)
    assert ranks(logits, labels).tolist() == label_ranks(torch.tensor(logits), torch.tensor(labels)).tolist()


def shorter(toy):
    toy.outputs["far"] = {name: values[:3] for name, values in toy.outputs["far"].items()}


def shuffled(toy):
    toy.outputs["test"]["label"] = toy.outputs["test"]["label"][::-1]


def changed(split, name, value):
    def change(toy):
        toy.outputs[split] = {**toy.outputs[split], name: value}
        if value is None:
            del toy.outputs[split][name]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shorter, "far.npz: logits has 3 rows; the split 'far' has 5 images"),
        (shuffled, "test.npz: 6 of 8 labels differ from those of the split 'test', first in row 0: 1 instead of 0"),
        (changed("test", "logits", np.zeros((8, 7))), "logits is float64 of shape (8, 7); expected 8 x 3 numbers"),
        (changed("test", "logits", np.full((8, 3), np.nan)), "test.npz: logits is not finite in 8 of 8 rows"),
        (changed("test", "logits", None), "test.npz has no logits; the split 'test' needs 8 rows of 3"),
        (changed("far", "features", None), "far.npz has no features, which a detector of this benchmark reads"),
        (changed("far", "features", np.zeros((5, 9))), "features is float64 of shape (5, 9); expected 5 x 4 numbers"),
        (changed("far", "score_own", None), "differ in 'score_own'; every split needs the same scores"),
        (changed("test", "score_knn", np.zeros(8)), "a score cannot be named 'score_knn'"),
        (changed("test", "label", np.array(["a"] * 8)), "label is <U1 of shape (8,); expected 8 numbers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(toy, change, words):
    change(toy)
    toy.write()
    with pytest.raises(ReproodError) as caught:
        toy.adopt()
    assert words in str(caught.value)
    assert not (toy.out / "predictions.parquet").exists()


def test_forward_passes_that_a_detector_asks_for(toy):
    with pytest.raises(ReproodError, match="validation.npz has no pass_odin, which a detector of this benchmark reads"):
        toy.adopt(passes=["odin"])
    for name in ("validation", "test", "far"):
        toy.outputs[name]["pass_odin"] = 2 * toy.outputs[name]["logits"]
    toy.write()
    toy.adopt(passes=["odin"])
    stored = load_outputs(toy.out, features=True).splits["far"]
    np.testing.assert_allclose(stored.passes["odin"], 2 * stored.logits, rtol=1e-6)


def test_missing_and_doubled_files(toy):
    (toy.folder / "far.csv").write_text("label\n0\n")
    with pytest.raises(ReproodError, match=r"has the outputs of the split 'far' twice, in far.npz and far.csv"):
        toy.adopt()
    (toy.folder / "far.csv").unlink()
    (toy.folder / "far.npz").unlink()
    with pytest.raises(ReproodError, match=r"no outputs of the split 'far'; expected one of far.npz, far.parquet"):
        toy.adopt()


def test_folders_and_settings():
    external = External(folder="runs/{family}/{member}/{seed}")
    family = BENCHMARK.model_copy(update={"family": "toys", "member": "red"})
    assert run_path(external, "toys_red", family, "mine", 3) == Path("runs/toys/red/3")
    with pytest.raises(ReproodError, match=r"mine: folder: \{sed\} is not known; expected some of \{benchmark\}"):
        check_external("toy", BENCHMARK, {"folder": "{sed}"}, "mine")
    with pytest.raises(ReproodError, match="mine: foldr: this key is not known; choose from folder, weights, network"):
        check_external("toy", BENCHMARK, {"folder": "x", "foldr": "y"}, "mine")
    boxes = BENCHMARK.model_copy(update={"evaluations": ("classification", "localisation")})
    check_external("toy", boxes, {"folder": "x"}, "mine")
    weights = {"weights": "w.pt", "network": "torchvision:resnet18", "mean": 0.5, "std": [0.2]}
    check_external("toy", BENCHMARK, weights, "mine")
    for values, words in (
        ({}, "give either 'folder', with outputs, or 'weights', a state dict"),
        ({"folder": "x", "weights": "w.pt"}, "give either 'folder'"),
        ({"folder": "x", "layer": "fc"}, "'layer' is for a network; it needs 'weights'"),
        ({**weights, "std": 0}, "'weights' needs 'mean' and 'std' > 0"),
        ({**weights, "network": "resnet18"}, "'weights' needs 'network': torchvision:NAME"),
        ({**weights, "mean": [0.5, 0.5, 0.5]}, "mean has 3 numbers; toy has images of 1 channels"),
    ):
        with pytest.raises(ReproodError, match=words):
            check_external("toy", BENCHMARK, values, "mine")
    with pytest.raises(ReproodError, match="toy evaluates localisation, for which a network with given weights has no"):
        check_external("toy", boxes, weights, "mine")


class Defects:
    """A benchmark of one class with masks, and given image scores and maps."""

    def __init__(self, root: Path) -> None:
        random = np.random.default_rng(0)
        self.data, self.folder, self.out = root / "data", root / "mine", root / "run"
        self.folder.mkdir()
        self.sizes = {"train": 3, "validation": 3, "test": 5, "far": 6}
        self.masks = random.random((6, 8, 8)) < 0.2
        self.outputs = {}
        for name, size in self.sizes.items():
            masks = self.masks if name == "far" else np.zeros((size, 8, 8), bool)
            labels = np.full(size, -1 if name == "far" else 0)
            save_split(self.data / name, np.zeros((size, 8, 8, 1), np.uint8), labels, {"masks": masks.astype(np.uint8)},
                       {"classes": ["good"]})  # fmt: skip
            maps = random.normal(size=(size, 8, 8)) + 2 * masks
            self.outputs[name] = {"score_own": -maps.max(axis=(1, 2)), "map": maps}

    def adopt(self) -> None:
        for name, values in self.outputs.items():
            np.savez(self.folder / f"{name}.npz", **values)
        settings = {
            "benchmark": "toy", "method": "mine", "seed": 0, "splits": ["validation", "test", "far"],
            "external": {"folder": str(self.folder)}, "conditions": {}, "features": False, "passes": [], "maps": True,
        }  # fmt: skip
        adopt(settings, self.data, self.out, self.out)

    def metrics(self) -> pd.Series:
        record = {**BENCHMARK.model_dump(mode="json"), "evaluations": ["detection", "segmentation"], "attacks": {}}
        evaluate_outputs(self.out, Benchmark.model_validate({**record, "detectors": {}}), "toy", "mine", 0)
        return pd.read_csv(self.out / "metrics.csv").set_index(["split", "score", "metric"])["value"]


def test_given_maps_of_defects_are_evaluated(tmp_path):
    defects = Defects(tmp_path)
    defects.adopt()
    metrics = defects.metrics()
    ours, theirs = (defects.outputs[name]["score_own"] for name in ("test", "far"))
    assert metrics["far", "own", "auroc"] == pytest.approx((ours[:, None] > theirs).mean())
    maps = np.concatenate([defects.outputs[name]["map"] for name in ("test", "far")])
    masks = np.concatenate([np.zeros((5, 8, 8), bool), defects.masks])
    wanted = (maps[masks][:, None] > maps[~masks]).mean()
    assert metrics.xs("pixel_auroc", level="metric").tolist() == [pytest.approx(wanted, abs=2e-3)]  # 4,096 levels


def test_defects_without_maps_have_image_scores_only(tmp_path):
    defects = Defects(tmp_path)
    for values in defects.outputs.values():
        del values["map"]
    defects.adopt()
    metrics = defects.metrics()
    assert "auroc" in metrics.index.get_level_values("metric")
    assert "pixel_auroc" not in metrics.index.get_level_values("metric")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "has maps and .*far.npz has none; give 'map' for the test split and every OOD set"),
        (np.zeros((6, 4, 4)), r"map is float64 of shape \(6, 4, 4\); expected finite numbers of shape \(6, 8, 8\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path, value, words):
    defects = Defects(tmp_path)
    del defects.outputs["far"]["map"]
    if value is not None:
        defects.outputs["far"]["map"] = value
    with pytest.raises(ReproodError, match=words):
        defects.adopt()


def test_given_boxes_are_stored_next_to_the_true_ones(tmp_path):
    true = np.array([[0, 0, 4, 4], [2, 2, 8, 8]])
    save_split(tmp_path / "test", np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, int), {"boxes": true}, {})
    test, path = load_split(tmp_path / "test"), tmp_path / "test.npz"
    given = {f"{kind}_{end}": np.array([1, 2]) for kind in BOXES for end in ENDS}
    stored = given_boxes(given, test, path)
    assert stored["box_x1"].tolist() == [4, 8]
    assert stored["cam_true_minmax_y0"].tolist() == [1, 2]
    with pytest.raises(ReproodError, match="has no cam_x0; 'localisation' needs the boxes cam, cam_true"):
        given_boxes({}, test, path)
    with pytest.raises(ReproodError, match="cam_y1 must hold 2 whole numbers from 0 to 8"):
        given_boxes({**given, "cam_y1": np.array([1, 9])}, test, path)
