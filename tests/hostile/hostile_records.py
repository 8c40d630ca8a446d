"""Bad records of the first stages: stored splits and trained models."""

import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile_data import Trap, npz, objects, saved, shaped
from hostile_harness import Act, Case

CASES: list[Case] = []
SPLIT = "stored splits and benchmarks"
MODEL = "trained models"


@functools.cache
def shelf() -> Path:
    """Return the folder of good records, which are made once and copied for each case."""
    keeper = tempfile.TemporaryDirectory(prefix="reprood-hostile-")
    shelf.keeper = keeper  # type: ignore[attr-defined]
    return Path(keeper.name)


def write(path: Path, content: bytes | str) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def edited(path: Path, change: Callable[[Any], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


# --- stored splits: `reprood data split` ---


def images(count: int = 12, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 1), dtype=np.uint8)


@functools.cache
def good_split() -> Path:
    from reprood.data.arrays import save_split

    folder = shelf() / "split"
    meta = {"name": "d", "split": "train", "title": "D", "classes": ["a", "b"], "licence": "none",
            "source": {"kind": "generator", "files": []}}  # fmt: skip
    save_split(folder, images(), np.arange(12) % 2, {"boxes": np.zeros((12, 4), np.float32)}, meta)
    return folder


SPEC = {
    "name": "train", "role": "train", "label_noise": None, "source": {"dataset": "d", "split": "train"},
    "preparation": {"size": 8, "channels": 1},
}  # fmt: skip


def split(name: str, change: Callable[[Path], object], *words: str, **spec: Any) -> None:
    def build(inside: Path) -> Act:
        folder = Path(shutil.copytree(good_split(), inside / "d"))
        change(folder)
        command = ["data", "split", "--spec", json.dumps({**SPEC, **spec}), "--source", "d", "--out", "out"]
        return Act(command, inside, inside / "out")

    CASES.append(Case(SPLIT, name, build, words))


def pixels(data: bytes | np.ndarray) -> Callable[[Path], object]:
    return lambda at: write(at / "images.npy", data if isinstance(data, bytes) else saved(data))


def numbers(data: bytes | np.ndarray) -> Callable[[Path], object]:
    return lambda at: write(at / "labels.npy", data if isinstance(data, bytes) else saved(data))


def nothing(at: Path) -> None:
    return None


split("a missing file", lambda at: (at / "labels.npy").unlink(), "d: labels.npy missing")
split("a pickle for images", lambda at: write(at / "images.npy", objects(at.parent)), "images.npy", "objects")
split("a pickle for labels", lambda at: write(at / "labels.npy", objects(at.parent)), "labels.npy", "objects")
split(
    "a pickle for extras", lambda at: write(at / "extras.npz", npz(boxes=objects(at.parent))), "extras.npz", "objects"
)
split("images of 0 bytes", pixels(b""), "images.npy")
split("images of a million million rows", pixels(shaped("(1000000000000, 8, 8, 1)")), "images.npy", "header states")
split("images that are cut", pixels(saved(images())[:-50]), "images.npy")
split("fewer images", pixels(images(6)), "d")
split("floats", pixels(images().astype(float)), "images.npy", "float64")
split("NaN labels", numbers(np.full(12, np.nan)), "labels.npy", "whole numbers")
split("labels of text", numbers(np.array(list("abcdefghijkl"))), "labels.npy", "whole numbers")
split("fewer labels", numbers(np.zeros(5, int)), "5 labels")
split("labels without a class", numbers(np.full(12, -1)), "d/train", "without a label")
split(
    "extras of another length", lambda at: write(at / "extras.npz", npz(boxes=np.zeros((5, 4)))), "extras.npz", "boxes"
)
split("extras that are text", lambda at: write(at / "extras.npz", "text"), "extras.npz")
split(
    "extras that are a bomb", lambda at: write(at / "extras.npz", npz(boxes=shaped("(10000000000, 4)"))), "extras.npz"
)
split("meta of 0 bytes", lambda at: write(at / "meta.json", ""), "meta.json", "not valid JSON")
split("meta that is a list", lambda at: write(at / "meta.json", "[]"), "meta.json")
split("meta nested 100,000 deep", lambda at: write(at / "meta.json", "[" * 100_000), "meta.json", "not valid JSON")
split("meta of another shape", lambda at: edited(at / "meta.json", lambda m: m.update(shape=[1, 2])), "meta.json says")
split("meta without a hash", lambda at: edited(at / "meta.json", lambda m: m.pop("content")), "meta.json")
split("meta that is no UTF-8", lambda at: write(at / "meta.json", b"\xff\xfe"), "meta.json", "not valid JSON")
split("a class that is not there", nothing, "class 7 has no images", source={**SPEC["source"], "classes": [7]})
split("more rows than there are", nothing, "there are 12", source={**SPEC["source"], "limit": 1000})
split("a source that is a list", nothing, "--spec: source", source=[1])
split("a size of a million", nothing, "size", preparation={"size": 10**6, "channels": 1})
split("noise between superclasses that are not given", nothing, "superclasses",
      label_noise={"strength": 0.5, "kind": "hierarchical"})  # fmt: skip
split("an unknown key", nothing, "colour", source={**SPEC["source"], "colour": 1})


def command(kind: str, name: str, words: tuple[str, ...], *arguments: str) -> None:
    CASES.append(Case(kind, name, lambda i: Act(list(arguments), i), words))


command(SPLIT, "a specification that is no JSON", ("--spec", "not valid JSON"), "data", "split", "--spec", "{", "--source", "d",
        "--out", "out")  # fmt: skip
command(SPLIT, "a specification that is a list", ("--spec", "source"), "data", "split", "--spec", "[]", "--source", "d",
        "--out", "out")  # fmt: skip
command(SPLIT, "a folder that is missing", ("d/meta.json", "does not exist"), "data", "split", "--spec", json.dumps(SPEC), "--source", "d", "--out",
        "out")  # fmt: skip
command(SPLIT, "corruptions that are unknown", ("--spec", "rust"), "data", "corrupt", "--spec", '{"names": ["rust"]}', "--test",
        "d", "--out", "out")  # fmt: skip

BENCHMARK = {
    "name": "toy", "title": "Toy", "preparation": {"size": 8, "channels": 1},
    "train": {"dataset": "d", "split": "train"}, "validation": {"dataset": "d", "split": "train"},
    "test": {"dataset": "d", "split": "test"}, "ood": {"odd": {"dataset": "e", "split": "test", "shift": "near"}},
}  # fmt: skip


def lint(name: str, change: Callable[[dict[str, tuple[np.ndarray, np.ndarray]], Path], object], *words: str) -> None:
    """Return a benchmark whose splits are inconsistent."""

    def build(inside: Path) -> Act:
        from reprood.data.arrays import save_split

        splits = {
            part: (images(seed=seed), np.full(12, -1) if part == "odd" else np.arange(12) % 2)
            for seed, part in enumerate(("train", "validation", "test", "odd"))
        }
        change(splits, inside)
        for part, (pictures, labels) in splits.items():
            meta = {"classes": ["a", "b"], "preparation": {"rule": "x", "size": 8, "channels": 1}}
            save_split(inside / "data" / part, pictures, labels, {}, meta)
        arguments = ["data", "lint", "--spec", json.dumps(BENCHMARK), "--folder", "data", "--out", "lint.json"]
        return Act(arguments, inside, inside / "lint.json")

    CASES.append(Case(SPLIT, f"benchmark: {name}", build, ("benchmark 'Toy' is rejected", *words)))


lint("an image many times", lambda s, _: s.update(train=(np.repeat(images(1), 12, axis=0), s["train"][1])), "copies")
lint(
    "test images among those of training", lambda s, _: s.update(test=(s["train"][0], s["test"][1])), "share 12 images"
)
lint("outliers among the test images", lambda s, _: s.update(odd=(s["test"][0], s["odd"][1])), "test and odd share")
lint(
    "a class without images in the test set",
    lambda s, _: s.update(test=(s["test"][0], np.zeros(12))),
    "split test",
    "[1]",
)
lint(
    "a class without images in training",
    lambda s, _: s.update(train=(s["train"][0], np.arange(12) % 2 * 2)),
    "without gaps",
)
lint(
    "a class of one image, in training only",
    lambda s, _: s.update(train=(s["train"][0], np.r_[2, np.arange(11) % 2])),
    "[2]",
)
lint("outliers with labels", lambda s, _: s.update(odd=(s["odd"][0], np.zeros(12))), "only the label -1")
lint("images of another size", lambda s, _: s.update(test=(images(size=9), s["test"][1])), "split test", "(9, 9, 1)")

# --- trained models: `reprood predict` ---

TRAIN_RECORD = {
    "benchmark": "toy", "method": "erm", "seed": 0, "use": "erm", "settings": {},
    "backbone": {"name": "wrn", "depth": 10, "width": 1}, "channels": 1, "size": 8, "classes": 2,
    "mean": [0.5], "std": [0.3],
}  # fmt: skip


@functools.cache
def good_model() -> Path:
    """Return a run that was never trained."""
    import torch
    from safetensors.torch import save_file

    from reprood.engine.seeds import seeded
    from reprood.methods import registry
    from reprood.train.run import network, parse_config

    folder = shelf() / "model"
    folder.mkdir()
    with seeded(0):
        made = registry.method("erm").build(parse_config(TRAIN_RECORD), network(TRAIN_RECORD, 1), 2)
    save_file({k: v.contiguous() for k, v in made.state_dict().items()}, folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(TRAIN_RECORD))
    torch.manual_seed(0)
    return folder


def model(name: str, change: Callable[[Path], object], *words: str, requested: Any = None, splits: Callable[[Path], object] = nothing
          ) -> None:  # fmt: skip
    def build(inside: Path) -> Act:
        run = Path(shutil.copytree(good_model(), inside / "run"))
        for part in ("validation", "test"):
            shutil.copytree(good_split(), inside / "data" / part)
        change(run)
        splits(inside / "data")
        record = {"splits": ["validation", "test"]} if requested is None else requested
        text = record if isinstance(record, str) else json.dumps(record)
        arguments = [
            "predict",
            "--settings",
            text,
            "--data",
            "data",
            "--run",
            "run",
            "--out",
            "out",
            "--device",
            "cpu",
        ]
        return Act(arguments, inside, inside / "out")

    CASES.append(Case(MODEL, name, build, words))


def tensors(data: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        path = run / "model.safetensors"
        path.write_bytes(data(path.read_bytes()))

    return change


def head(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change the header of a safetensors file; its length is updated."""

    def edit(raw: bytes) -> bytes:
        size = struct.unpack("<Q", raw[:8])[0]
        record = json.loads(raw[8 : 8 + size])
        change(record)
        text = json.dumps(record).encode()
        return struct.pack("<Q", len(text)) + text + raw[8 + size :]

    return tensors(edit)


def first(record: dict[str, Any]) -> dict[str, Any]:
    return next(value for name, value in record.items() if name != "__metadata__")


def nan_weights(run: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    found = load_file(run / "model.safetensors")
    name = next(name for name, value in found.items() if value.is_floating_point())
    found[name] = torch.full_like(found[name], float("nan"))
    save_file(found, run / "model.safetensors")


SAFE = "model.safetensors"
model("no file", lambda at: (at / SAFE).unlink(), SAFE)
model("0 bytes", tensors(lambda raw: b""), SAFE)
model("text", tensors(lambda raw: b"not a model"), SAFE)
model("a pickle", lambda at: write(at / SAFE, __import__("pickle").dumps(Trap(at.parent))), SAFE)
model("a file of torch.save", lambda at: __import__("torch").save({"w": Trap(at.parent)}, at / SAFE), SAFE)
model("cut", tensors(lambda raw: raw[:-100]), SAFE)
model("more than its header says", tensors(lambda raw: raw + bytes(100)), SAFE)
model("a header of 2^63 bytes", tensors(lambda raw: struct.pack("<Q", 2**63) + raw[8:]), SAFE)
model("a header of 2^40 bytes", tensors(lambda raw: struct.pack("<Q", 2**40) + raw[8:]), SAFE)
model("a header that is too short", tensors(lambda raw: struct.pack("<Q", 5) + raw[8:]), SAFE)
model("a header of nothing", tensors(lambda raw: bytes(8)), SAFE)
model("a header that is a list", tensors(lambda raw: struct.pack("<Q", 2) + b"[]"), SAFE)
model("a header nested 5,000 deep", tensors(lambda raw: struct.pack("<Q", 5000) + b"[" * 5000), SAFE)
model("a tensor of a million million numbers", head(lambda h: first(h).update(shape=[10**12])), SAFE)
model("a tensor of a negative shape", head(lambda h: first(h).update(shape=[-1])), SAFE)
model("a tensor beyond the file", head(lambda h: first(h).update(data_offsets=[0, 10**12])), SAFE)
model("a tensor that ends before it begins", head(lambda h: first(h).update(data_offsets=[8, 0])), SAFE)
model(
    "tensors that overlap",
    head(lambda h: [t.update(data_offsets=[0, 8]) for k, t in h.items() if k != "__metadata__"]),
    SAFE,
)
model("a tensor of an unknown type", head(lambda h: first(h).update(dtype="OBJECT")), SAFE)
model("a tensor of another name", head(lambda h: h.update(x=h.pop(next(k for k in h if k != "__metadata__")))), SAFE)
model("NaN weights", nan_weights, SAFE, "NaN")
JSON = "model.json"
model("no record", lambda at: (at / JSON).unlink(), JSON, "does not exist")
model("a record of 0 bytes", lambda at: write(at / JSON, ""), JSON, "not valid JSON")
model("a record that is a list", lambda at: write(at / JSON, "[]"), JSON)
model("a record nested 100,000 deep", lambda at: write(at / JSON, "[" * 100_000), JSON)
model("a record that is no UTF-8", lambda at: write(at / JSON, b"\xff\xfe"), JSON)
for key in ("use", "backbone", "classes", "mean", "settings"):
    model(f"a record without {key}", lambda at, k=key: edited(at / JSON, lambda m: m.pop(k)), JSON, key, "missing")
for title, change, words in (
    ("a method that is a module", {"use": "os"}, ("'os'",)),
    ("a method that is a path", {"use": "../../evil"}, ("'../../evil'",)),
    ("an unknown network", {"backbone": {"name": "brain"}}, ("'brain'",)),
    ("a network a billion layers deep", {"backbone": {"name": "wrn", "depth": 6 * 10**8 + 4}}, ("depth",)),
    ("a million million classes", {"classes": 10**12}, ("classes",)),
    ("no classes", {"classes": 0}, ("classes",)),
    ("more classes than the weights have", {"classes": 3}, (SAFE,)),
    ("a mean of NaN", {"mean": [float("nan")]}, ("mean",)),
    ("a deviation of nothing", {"std": [0]}, ("std",)),
    ("a mean for three channels", {"mean": [0.5] * 3}, ("mean",)),
    ("another size", {"size": 16}, ("shape", "16")),
    ("an unknown setting", {"settings": {"colour": 1}}, ("toy/erm", "colour")),
    ("a name with a path", {"benchmark": ["../x"]}, ("benchmark",)),
):
    model(f"a record of {title}", lambda at, c=change: edited(at / JSON, lambda m: m.update(c)), *words)
model(
    "an unknown forward pass",
    nothing,
    "no forward pass of kind 'odim'",
    requested={"splits": ["validation", "test"], "passes": {"x": {"kind": "odim"}}},
)
model("settings that are no JSON", nothing, "--settings", requested="{")
model("settings without splits", nothing, "--settings", "splits", requested={"evaluations": []})
model("no test split", nothing, "test is missing", requested={"splits": ["validation"]})
model(
    "a split that is not there",
    nothing,
    "data/nowhere",
    requested={"splits": ["validation", "test", "nowhere"]},
)
model(
    "labels beyond the model's",
    nothing,
    "labels from",
    splits=lambda at: write(at / "test/labels.npy", saved(np.arange(12))),
)
model("a split that is a pickle", nothing, "images.npy", "objects", splits=lambda at: write(
    at / "test/images.npy", objects(at.parent)))  # fmt: skip
