"""Bad records of finished stages: splits, models, predictions, metrics, histories, studies, verdicts."""

import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile_data import Trap, npz, objects, saved, shaped
from hostile_harness import Act, Case
from hostile_settings import GOOD as SUITE

CASES: list[Case] = []
SPLIT = "stored splits and benchmarks"
MODEL = "trained models"
PREDICTIONS = "predictions"
METRICS = "metrics, histories, studies, verdicts"


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

# --- predictions: `reprood evaluate runs` ---

FACTS = {"benchmark": "toy", "method": "erm", "seed": 0, "classes": 2, "fitted": {}, "native": []}


def columns() -> dict[str, Any]:
    splits = ["validation"] * 20 + ["test"] * 20 + ["noise"] * 20
    rng = np.random.default_rng(0)
    return {
        "split": splits, "row": list(range(20)) * 3, "label": [0] * 40 + [-1] * 20, "prediction": [0] * 60,
        "label_rank": [0] * 40 + [-1] * 20, "score_own": rng.random(60).tolist(),
        "logits": pa.array(rng.random((60, 2)).astype(np.float32).tolist(), pa.list_(pa.float32(), 2)),
    }  # fmt: skip


def parquet(path: Path, given: dict[str, Any], facts: Any = FACTS) -> None:
    text = facts if isinstance(facts, bytes) else json.dumps(facts).encode()
    pq.write_table(pa.table(given).replace_schema_metadata({"reprood": text}), path)


def predictions(name: str, make: Callable[[Path], object], *words: str) -> None:
    def build(inside: Path) -> Act:
        (inside / "run").mkdir()
        make(inside / "run/predictions.parquet")
        spec = json.dumps({"name": "toy", "runs": [["erm", 0, "run", "run"]], **SUITE["benchmarks"]["toy"]})
        return Act(["evaluate", "runs", "--spec", spec], inside, inside / "run/metrics.csv")

    CASES.append(Case(PREDICTIONS, name, build, ("run", *words)))


def with_column(name: str, value: Any) -> Callable[[Path], object]:
    return lambda at: parquet(at, {**columns(), name: value})


def with_facts(facts: Any) -> Callable[[Path], object]:
    return lambda at: parquet(at, columns(), facts)


def crowded(path: Path) -> None:
    """Return a record that claims ten thousand million rows in a few kilobytes."""
    parquet(path, columns())
    raw = bytearray(path.read_bytes())
    size = struct.unpack("<I", raw[-8:-4])[0]
    footer = raw[-8 - size : -8]
    assert footer.count(b"\x16\x78") >= 1  # 60 rows as a number of variable length
    footer = footer.replace(b"\x16\x78", b"\x16\x80\xa0\xb7\x87\xe9\x05")
    path.write_bytes(raw[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1")


predictions("no file", nothing, "does not exist")
predictions("0 bytes", lambda at: write(at, b""), "cannot be read")
predictions("text", lambda at: write(at, "split,row\n"), "cannot be read")
predictions("cut", lambda at: (parquet(at, columns()), write(at, at.read_bytes()[:-30])), "cannot be read")
predictions("more rows than memory", crowded)
predictions("no columns of predictions", lambda at: parquet(at, {"x": [1]}), "split", "missing")
predictions("no metadata", lambda at: pq.write_table(pa.table(columns()), at), "metadata")
predictions("metadata that are no JSON", with_facts(b"{"), "metadata", "JSON")
predictions("metadata nested 100,000 deep", with_facts(b"[" * 100_000), "metadata", "JSON")
predictions("metadata that are a list", with_facts([]), "metadata", "missing")
predictions("metadata without a run", with_facts({}), "metadata 'benchmark'")
predictions("metadata whose scores are a text", with_facts({**FACTS, "native": "x"}), "metadata 'native'")
predictions("another run", with_facts({**FACTS, "seed": 7}), "holds the run toy/erm/7")
predictions(
    "another run, of a name with HTML", with_facts({**FACTS, "method": "<script>"}), "holds the run toy/<script>/0"
)
predictions("no rows", lambda at: parquet(at, {k: pa.array(v[:0], pa.string() if k == "split" else
            pa.float64() if k.startswith("score") else v.type if k == "logits" else pa.int32()) for k, v in columns().items()}), "no split")  # fmt: skip
predictions("no test rows", with_column("split", ["validation"] * 60), "no split 'test'")
predictions("no outliers", with_column("split", [*columns()["split"][:40], *["other"] * 20]), "no split 'noise'")
predictions("splits that are numbers", with_column("split", [1] * 60), "split")
predictions("a split that is missing", with_column("split", [None, *columns()["split"][1:]]), "split")
for key in ("row", "label", "prediction", "label_rank"):
    predictions(f"{key} of text", with_column(key, ["x"] * 60), key, "whole number")
    predictions(f"{key} that is missing once", with_column(key, [None, *columns()[key][1:]]), key, "whole number")
    predictions(f"{key} of fractions", with_column(key, [0.5] * 60), key, "whole number")
predictions("a score of text", with_column("score_own", ["high"] * 60), "score_own")
predictions("a score of NaN", with_column("score_own", [float("nan")] * 60), "own", "not finite")
predictions("a score of infinity once", with_column("score_own", [*columns()["score_own"][:-1], float("inf")]), "own")
predictions("a score that is missing once", with_column("score_own", [*columns()["score_own"][:-1], None]), "own")
predictions("a score that is a list", with_column("score_own", [[1.0]] * 60), "score_own")
predictions("no logits", lambda at: parquet(at, {k: v for k, v in columns().items() if k != "logits"}), "no logits")
predictions("logits of text", with_column("logits", [["a", "b"]] * 60), "logits", "float32")
predictions("logits of several sizes", with_column("logits", [[0.5]] * 59 + [[0.5, 1.0]]), "logits", "one size")
predictions(
    "logits of NaN", with_column("logits", pa.array([[float("nan")] * 2] * 60, pa.list_(pa.float32(), 2))), "logits"
)
predictions("logits that are missing once", with_column(
    "logits", pa.array([None, *[[0.5, 1.0]] * 59], pa.list_(pa.float32(), 2))), "logits", "every row")  # fmt: skip
predictions("no number of classes", with_facts({**FACTS, "classes": "2"}), "classes")
predictions("a score named by a formula", with_column("score_=1+1", [0.5] * 60), "score", "=1+1")
predictions("a score named with a line break", with_column("score_a\nb", [0.5] * 60), "score")

# --- tables: metrics, histories, studies, verdicts ---

HEAD = "benchmark,method,seed,split,score,metric,value,n,n_ood\n"
LINE = "toy,erm,0,test,-,top1_error,5.0,20,0\n"


def metrics(name: str, text: str | bytes, *words: str, seeds: tuple[int, ...] = (0,)) -> None:
    def build(inside: Path) -> Act:
        import fabricate

        (inside / "runs/toy/erm/0").mkdir(parents=True)
        write(inside / "runs/toy/erm/0/metrics.csv", text)
        record = {"name": "toy", **fabricate.SUITE, "runs": [{"benchmark": "toy", "methods": ["erm"], "seeds": seeds}]}
        arguments = ["evaluate", "collect", "--suite", json.dumps(record), "--out", "all"]
        return Act(arguments, inside, inside / "all" / "metrics.csv")

    CASES.append(Case(METRICS, f"metrics: {name}", build, words or ("metrics.csv",)))


metrics("0 bytes", "", "metrics.csv", "not a table of metrics")
metrics("no UTF-8", b"\xff\xfe\x00", "metrics.csv")
metrics("other columns", "a,b\n1,2\n", "metrics.csv", "not a table of metrics")
metrics("no lines", HEAD + '"', "metrics.csv")
metrics("a value of text", HEAD + LINE.replace("5.0", "high"), "metrics.csv", "high")
metrics("a value of infinity", HEAD + LINE.replace("5.0", "inf"), "metrics.csv", "infinite")
metrics("a seed of text", HEAD + LINE.replace(",0,test", ",x,test"), "metrics.csv")
metrics("a seed beyond 63 bits", HEAD + LINE.replace(",0,test", f",{2**70},test"), "metrics.csv")
metrics("a negative count", HEAD + LINE.replace(",20,", ",-20,"), "metrics.csv", "negative count")
metrics("a line that is too long", HEAD + LINE + LINE.strip() + ",1,2,3\n", "metrics.csv")
metrics("a line twice", HEAD + LINE + LINE, "toy/erm/0 is given twice")
metrics("a null character", HEAD + LINE.replace("erm", "e\0m"), "metrics.csv")
metrics("an open quote", HEAD + '"' + LINE, "metrics.csv")
metrics("a file that is missing", HEAD + LINE, "runs/toy/erm/1/metrics.csv does not exist", seeds=(0, 1))
for title, cell in {
    "a formula": "=1+1", "a command": "=cmd|' /C calc'!A1", "a sum": "+1", "a difference": "-1", "a function": "@SUM(A1)",
    "HTML": "<script>alert(1)</script>", "a path": "../../x", "an escape sequence": "\x1b[31m", "nothing": "", "a blank": "a b",
}.items():  # fmt: skip
    metrics(f"a method that is {title}", HEAD + LINE.replace("erm", cell), "metrics.csv, line 2", "method")


def history(name: str, text: bytes, *words: str) -> None:
    def build(inside: Path) -> Act:
        from fabricate import results

        results(inside, runs=[{"benchmark": "toy", "methods": ["erm"], "seeds": [0]}])
        write(inside / "runs/toy/erm/0/history.csv", text)
        examples = inside / "results/toy/examples/toy.npz"
        examples.parent.mkdir(parents=True)
        np.savez(examples, original=np.zeros((8, 4, 4, 1), np.uint8))
        return drawn(inside)

    CASES.append(Case(METRICS, f"history: {name}", build, ("history.csv", *words)))


def drawn(inside: Path) -> Act:
    import fabricate

    record = {"name": "toy", **fabricate.SUITE, "runs": [{"benchmark": "toy", "methods": ["erm"], "seeds": [0]}]}
    return Act(
        [
            "report",
            "draw",
            "toy",
            "--suite",
            json.dumps(record),
            "--examples",
            "results/toy/examples",
            "--out",
            "reports",
        ],
        inside,
    )


history("0 bytes", b"")
history("no UTF-8", b"\xff\xfe\x00\x01")
history("other columns", b"a,b\n1,2\n")
history("a loss of text", b"phase,epoch,lr,train_loss\ntrain,1,0.1,low\n", "train_loss")
history("a line that is too long", b"phase,epoch,lr,train_loss\ntrain,1,0.1,0.5\ntrain,1,0.1,0.5,1,2,3\n")
history("an open quote", b'phase,epoch,lr,train_loss\n"train,1,0.1,0.5\n')


def study(name: str, text: bytes, *words: str) -> None:
    def build(inside: Path) -> Act:
        (inside / "study").mkdir()
        write(inside / "study/values.csv", text)
        write(inside / "study/arrays.npz", npz(x=np.zeros(3)))
        return Act(
            ["report", "study-figure", "inference_time", "--folder", "study", "--svg", "x.svg", "--png", "x.png"],
            inside,
        )

    CASES.append(Case(METRICS, f"study: {name}", build, ("values.csv", *words)))


study("0 bytes", b"", "not a table")
study("other columns", b"a\n1\n", "not a table")
study("a value of text", b"study,arm,seed,metric,value\ns,a,0,m,high\n", "high")
study("no UTF-8", b"\xff\xfe", "not a table")
study("an arm that is a formula", b"study,arm,seed,metric,value\ns,=1+1,0,m,1\n", "arm", "=1+1")
study("a value of infinity", b"study,arm,seed,metric,value\ns,a,0,m,inf\n", "finite")
for title, make in {"a pickle": lambda i: npz(x=objects(i)), "text": lambda i: b"text", "a bomb": lambda i: npz(
        x=shaped("(1000000000000,)"))}.items():  # fmt: skip

    def build_arrays(inside: Path, make: Callable[[Path], bytes] = make) -> Act:
        (inside / "study").mkdir()
        write(inside / "study/values.csv", "study,arm,seed,metric,value\ns,a,0,m,1\n")
        write(inside / "study/arrays.npz", make(inside))
        return Act(
            ["report", "study-figure", "cnc_toy", "--folder", "study", "--svg", "x.svg", "--png", "x.png"], inside
        )

    CASES.append(Case(METRICS, f"study: arrays that are {title}", build_arrays, ("arrays.npz",)))

VERDICTS = "paper,claim,benchmark,verdict,effect,low,high\ntoy,c0,toy,open,0.1,0.0,0.2\n"


def verdicts(name: str, text: bytes, *words: str) -> None:
    def build(inside: Path) -> Act:
        for release, content in (("one", VERDICTS.encode()), ("two", text)):
            (inside / release / "results").mkdir(parents=True)
            write(inside / release / "results/verdicts.csv", content)
        return Act(["compare", "one", "two"], inside)

    CASES.append(Case(METRICS, f"verdicts: {name}", build, ("verdicts.csv", *words)))


verdicts("0 bytes", b"")
verdicts("no UTF-8", b"\xff\xfe\x00")
verdicts("other columns", b"a,b\n1,2\n", "has no columns")
verdicts("an effect of text", VERDICTS.replace("0.1", "large").encode(), "effect")
verdicts("a claim twice", (VERDICTS + VERDICTS.split("\n")[1] + "\n").encode(), "twice")
verdicts("a line that is too long", (VERDICTS + "a,b,c,d,1,2,3,4,5,6\n").encode())
verdicts("an open quote", VERDICTS.replace("toy,c0", '"toy,c0').encode())
verdicts("an unknown verdict", VERDICTS.replace("open", "<script>alert(1)</script>").encode(), "verdict")
command(METRICS, "verdicts: none", ("nowhere does not exist", "published releases"), "compare", "nowhere", "nowhere")
