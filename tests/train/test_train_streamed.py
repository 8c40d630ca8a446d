"""A streamed benchmark from a folder of JPEG files to metrics, through the functions of the stages."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from image_files import WNIDS, entry, write_images

from reprood.config.benchmark import Benchmark
from reprood.config.records import Preparation, Source
from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.data.arrays import load_split, save_split
from reprood.data.index_reader import index_dataset
from reprood.data.lint import lint_benchmark
from reprood.data.streamed import prepare_streamed
from reprood.engine.run import Stopped
from reprood.predict.run import predict_run
from reprood.report.records import ModelRecord, RunRecord, checked
from reprood.train.examples import draw_examples
from reprood.train.run import load_model
from reprood.train.streamed import train_streamed_run

SIZE = 24
SETTINGS = {
    "benchmark": "tiny",
    "method": "cutmix",
    "seed": 0,
    "suite_seed": 0,
    "use": "imagenet",
    "settings": {"training": {"epochs": 2, "batch_size": 8, "lr": 0.05}},
    "backbone": {"name": "wrn", "depth": 10, "width": 0.25, "stem_stride": 2},
    "precision": "fp32",
    "auxiliary": [],
}
BENCHMARK = {
    "title": "Letters in files",
    "preparation": {"size": SIZE, "channels": 3},
    "train": {"dataset": "tiny", "split": "train"},
    "validation": {"dataset": "tiny", "split": "val", "skip": 9, "limit": 6},
    "test": {"dataset": "tiny", "split": "val", "limit": 9},
    "evaluations": ["classification"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a streamed benchmark's splits: training images in class folders, a flat validation set with a list."""
    root = tmp_path_factory.mktemp("streamed")
    write_images(root / "in" / "train", 24)
    known = write_images(root / "in" / "val", 15, seed=1, flat=True)
    (root / "in" / "labels").write_text("".join(f"{name} {wnid}\n" for name, wnid in known.items()))
    reader = {"reader": "image_index"}
    made = entry(
        root / "in",
        train={**reader, "files": ["train"]},
        val={**reader, "files": ["val", "labels"], "options": {"labels": "labels"}},
    )
    benchmark = Benchmark.model_validate(BENCHMARK)
    for split in ("train", "val"):
        index_dataset("tiny", made, split, root / "tiny" / split)
    for name, source in benchmark.splits().items():
        prepare_streamed(source, benchmark.preparation, root / "tiny" / source.split, root / "data" / name, name)
    return root / "data"


def train(data, out, **changes):
    train_streamed_run(SETTINGS, data=data, out=out, state=out / "state", device="cpu", threads=1, **changes)


def test_a_run_on_streamed_images_is_like_any_other(data, tmp_path):
    train(data, tmp_path)
    record = checked(tmp_path / "run.json", RunRecord)
    model = checked(tmp_path / "model.json", ModelRecord)
    assert record["data"] == {name: load_split(data / name).meta["content"] for name in ("train", "validation", "test")}
    assert (model["size"], model["classes"], tuple(model["class_names"])) == (SIZE, 3, WNIDS)
    assert model["mean"] == [0.485, 0.456, 0.406]
    assert read_json(tmp_path / "model.json")["settings"]["jitter"] == 0.4

    predict_run(tmp_path, {name: data / name for name in ("validation", "test")}, tmp_path, device="cpu", threads=1)
    table = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    stored = table[table["split"] == "test"]
    assert stored["label"].tolist() == load_split(data / "test").labels.tolist()
    assert len(stored["logits"].iloc[0]) == 3
    error = 100 * float(np.mean(stored["prediction"] != stored["label"]))
    history = (tmp_path / "history.csv").read_text().splitlines()
    last = dict(zip(history[0].split(","), history[-1].split(","), strict=True))
    assert float(last["test_error"]) == pytest.approx(error)
    assert load_model(tmp_path, "cpu")[1]["use"] == "imagenet"


def test_a_stopped_run_ends_with_the_same_model(data, tmp_path):
    train(data, tmp_path / "a")
    steps = iter(range(100))
    with pytest.raises(Stopped):
        train(data, tmp_path / "b", stop=lambda: next(steps) == 3)
    train(data, tmp_path / "b")
    assert read_json(tmp_path / "a" / "run.json")["model"] == read_json(tmp_path / "b" / "run.json")["model"]


def test_the_linter_compares_streamed_splits_by_their_files(data):
    benchmark = Benchmark.model_validate(BENCHMARK)
    splits = {name: load_split(data / name) for name in benchmark.splits()}
    assert lint_benchmark(splits, benchmark, classifies=True)["overlaps"] == {}
    test = splits["test"]
    copied = {**test.extras, "digest": splits["train"].extras["digest"][: len(test)]}
    with pytest.raises(ReproodError, match="splits train and test share 9 images"):
        lint_benchmark({**splits, "test": replace(test, extras=copied)}, benchmark)
    other = {**test.meta, "preparation": {"rule": "other", "size": SIZE, "channels": 3}}
    with pytest.raises(ReproodError, match="splits were prepared by different rules"):
        lint_benchmark({**splits, "test": replace(test, extras={}, meta=other)}, benchmark)


def test_examples_are_drawn_of_the_first_files_and_normalised_as_in_training(data, tmp_path):
    cutout = {**SETTINGS, "settings": {**SETTINGS["settings"], "mix": "cutout"}}
    draw_examples({"cutmix": SETTINGS, "cutout": cutout}, data, tmp_path / "examples.npz")
    with np.load(tmp_path / "examples.npz") as arrays:
        assert arrays["original"].shape == arrays["cutmix"].shape == (10, SIZE, SIZE, 3)
        changed = (arrays["cutout"] != arrays["original"]).any(axis=3)
        assert changed.any(axis=(1, 2)).all()
        # Cutout's zeros are the mean of the normalisation: 255 times 0.485, 0.456 and 0.406
        assert np.unique(arrays["cutout"][changed], axis=0).tolist() == [[124, 116, 104]]


def test_only_methods_that_stream_and_only_indices_are_trained_so(data, tmp_path):
    settings = {**SETTINGS, "use": "erm"}
    with pytest.raises(ReproodError, match="tiny/cutmix/0: erm cannot be trained on streamed images; use one"):
        train_streamed_run(settings, data=data, out=tmp_path, state=tmp_path / "state", device="cpu")
    images, labels = np.zeros((9, SIZE, SIZE, 3), np.uint8), np.arange(9) % 3
    for name in ("train", "validation", "test"):
        save_split(tmp_path / "data" / name, images, labels, {}, {})
    with pytest.raises(ReproodError, match="train is not an index of images; read its data set with the reader"):
        train(tmp_path / "data", tmp_path)


def test_options_that_need_pixels_are_refused(data, tmp_path):
    plain = Source(dataset="tiny", split="train")
    source = plain.model_copy(update={"style": "invert"})
    with pytest.raises(ReproodError, match="a streamed split has no option 'style'"):
        prepare_streamed(source, Preparation(size=SIZE, channels=3), data / "train", tmp_path, "train")
    with pytest.raises(ReproodError, match="set preparation.channels to 3"):
        prepare_streamed(
            Source(dataset="tiny", split="train"), Preparation(size=SIZE, channels=1), data, tmp_path, "train"
        )
