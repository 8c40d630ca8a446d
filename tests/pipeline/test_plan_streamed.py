"""The jobs of a benchmark whose training images are streamed."""

import re
from pathlib import Path

import pytest
import yaml
from image_files import write_images

from reprood.core.errors import ReproodError
from reprood.pipeline.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
SUITE = {
    "title": "Streamed",
    "scale": "reduced",
    "seeds": 1,
    "settings": {"backbone": {"name": "wrn", "depth": 10, "width": 0.25}},
    "benchmarks": {
        "tiny_streamed": {
            "title": "Tiny",
            "preparation": {"size": 24, "channels": 3},
            "train": {"dataset": "tiny", "split": "train"},
            "validation": {"dataset": "tiny", "split": "val", "skip": 3},
            "test": {"dataset": "tiny", "split": "val", "limit": 3},
            "evaluations": ["classification"],
        }
    },
    "methods": {"cutmix": {"use": "imagenet", "label": "CutMix"}},
    "runs": [{"benchmark": "tiny_streamed", "methods": ["cutmix"]}],
}


def plan(root: Path, files=None, splits=None, mirrors=(), **benchmark) -> Plan:
    suite = {**SUITE, "benchmarks": {"tiny_streamed": {**SUITE["benchmarks"]["tiny_streamed"], **benchmark}}}
    method = suite["benchmarks"]["tiny_streamed"].pop("method", None)
    if method:
        suite["methods"] = {"cutmix": {"use": method, "label": "CutMix"}}
    path = root / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    files = files or {"train": {"path": str(root / "train")}, "val": {"path": str(root / "val")}}
    splits = splits or {name: {"reader": "image_index", "files": [name]} for name in files}
    tiny = {"title": "Tiny", "licence": "none", "files": files, "splits": splits}
    return Plan({"suite": str(path), "datasets": {"tiny": tiny}, "mirrors": list(mirrors)}, ROOT)


def test_a_streamed_benchmark_has_rules_and_fingerprints_of_its_own(tmp_path):
    made = plan(tmp_path)
    assert made.streams("tiny_streamed")
    assert made.train_entry("tiny_streamed") == "reprood.train.streamed"
    assert made.split_entries("tiny_streamed", "train") == ("reprood.data.streamed",)
    assert "pillow" in made.run_environment("tiny_streamed", "cutmix")
    for folder, streamed in (("tiny_streamed", True), ("tiny_streamed~0123abcd", True), ("tiny_streamed_2", False)):
        own, other = (
            re.compile(f"runs/({pattern})/m/0") for pattern in (made.streamed_benchmarks, made.other_benchmarks)
        )
        assert bool(own.fullmatch(f"runs/{folder}/m/0")) == streamed
        assert bool(other.fullmatch(f"runs/{folder}/m/0")) != streamed
    assert re.fullmatch(made.streamed_datasets, "tiny")
    assert re.fullmatch(f"data/({made.other_datasets})/train", "data/cifar10/train")
    assert not re.fullmatch(f"data/({made.other_datasets})/train", "data/tiny/train")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "erm"}, "cutmix uses erm, which cannot be trained on streamed images; use one of imagenet"),
        ({"label_noise": {"strength": 0.5}}, "a streamed training split has no label_noise"),
        (
            {
                "ood": {"far": {"dataset": "tiny", "split": "val", "classes": [0], "shift": "far"}},
                "evaluations": ["detection"],
                "detectors": {"knn": {}},
            },
            "is fitted on the training images, which are streamed; take it out of 'detectors'",
        ),
        (
            {
                "ood": {"far": {"dataset": "textures", "split": "all", "shift": "far"}},
                "evaluations": ["detection"],
                "detectors": {"msp": {}},
            },
            "benchmark tiny_streamed: far would be prepared by another rule than the other splits, which are streamed",
        ),
        (
            {"train": {"dataset": "textures", "split": "all"}},
            "train would be prepared by another rule than the other splits, which are streamed",
        ),
    ],
)
def test_what_needs_training_images_in_memory_is_refused(tmp_path, changes, words):
    with pytest.raises(ReproodError, match=words):
        plan(tmp_path, **changes)


def renamed(file: Path) -> None:
    file.rename(file.with_name(f"b{file.suffix}"))


def grown(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"0")


def added(file: Path) -> None:
    file.with_name(f"c{file.suffix}").write_bytes(b"0")


@pytest.mark.parametrize("place", ["path", "root", "mirror"])
def test_a_changed_folder_is_noticed_by_names_and_sizes(tmp_path, place):
    """Wherever the images are: at a path, in a folder inside of it, or in a mirror; and boxes in folders of classes."""
    files = {"train": {"path": str(tmp_path / "train")}, "boxes": {"path": str(tmp_path / "boxes")}}
    options = {"boxes": "boxes"}
    folder = tmp_path / "train"
    if place == "root":
        options["root"], folder = "in/it", tmp_path / "train" / "in" / "it"
    if place == "mirror":
        files["train"], folder = {}, tmp_path / "mirror" / "tiny" / "train"
    split = {"reader": "image_index", "files": ["train", "boxes"], "options": options}
    made = plan(tmp_path, files=files, splits={"train": split, "val": split}, mirrors=[str(tmp_path / "mirror")])

    def content() -> str:
        made.cached.clear()  # of one process
        return made.own_content("tiny", "train")

    assert content() == ""
    write_images(folder, 6)
    (tmp_path / "boxes").mkdir()
    folder.with_name(f"{folder.name}_boxes").rename(tmp_path / "boxes" / "train")
    seen = [content()]
    (folder / ".hidden").write_text("")
    assert content() == seen[0]
    for change in (grown, added, renamed):
        for root in (folder, tmp_path / "boxes"):
            change(next(path for path in sorted(root.rglob("*.*")) if path.suffix in (".JPEG", ".xml")))
            seen.append(content())
    assert len(set(seen)) == 7
