"""Take over outputs that were computed elsewhere, in the form of the train and predict stages. No torch.

A file holds one row per image of a split, in the order of the benchmark's prepared split
(`data/benchmarks/<benchmark>/<split>/`):

- `logits`: [N, C], scores of the classes before the softmax; they may be missing where there is one class;
- `features`: [N, d], what the last layer reads, if a detector needs it;
- `score_<name>`: [N], a score of the method itself, higher = more in-distribution;
- `map`: [N, H, W], how anomalous each pixel is (higher = more), at the size of the prepared images, where the benchmark
  has defects with masks; for the test split and every OOD set, or for none (then only image scores are evaluated);
- `cam_x0`, `cam_y0`, `cam_x1`, `cam_y1` and so on: [N], boxes, where the benchmark evaluates localisation (see
  `reprood.predict.given.given_boxes`);
- `pass_<name>`: [N, C], the logits of a forward pass on changed images that a detector asks for (ODIN);
- `label`: [N], to check the order: it must be that of the prepared split.

In an npz archive these are arrays; in parquet and CSV files, columns: `logits_0`, `logits_1`, ... (in parquet also one
column of lists). `head.npz`, next to the splits, may hold `weight` [C, d] and `bias` [C] of the last layer.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from reprood.config.conditions import is_condition
from reprood.config.external import EXTERNAL, External, output_file
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, sha256_file, write_json
from reprood.data.arrays import Split, load_split, read_npz
from reprood.data.bounds import fits
from reprood.detectors import registry
from reprood.predict.files import write_features, write_predictions
from reprood.predict.given import given_boxes, given_maps

SCORE = re.compile(r"score_[a-z0-9][a-z0-9_]*")
HEAD = "head"
FITTED = ("train", "validation")  # splits without maps
NOT_STATED = "not stated"
HISTORY = "phase,epoch,lr,train_loss\n"  # nothing was trained here


def adopt(settings: Mapping[str, Any], data: Path, run_out: Path, out: Path, code: str = "") -> None:
    """Write the files of a run from outputs that are given.

    Parameters
    ----------
    settings : mapping
        `benchmark`, `method`, `seed`; `external` (`reprood.config.external.External`, with the folder of this run);
        `splits` in order, with "train" if detectors are fitted on it; `conditions` (name -> number of the first test
        images, None: all); `features` (bool); `passes` (names of forward passes); optionally `maps` and `boxes` (bool),
        whether the benchmark evaluates them.
    data : Path
        Folder of the benchmark's splits.
    run_out : Path
        Folder for model.json, history.csv and run.json, which state that nothing was trained here.
    out : Path
        Folder for predictions.parquet and features.safetensors.
    code : str
        Fingerprint of the code, to be recorded.

    Raises
    ------
    ReproodError
        For a file that is missing or does not fit: which file and split, what is expected and what was found.
    """
    external = External.model_validate(settings["external"])
    folder = Path(external.folder)
    splits = {name: load_split(data / name) for name in settings["splits"]}
    first = splits.get("train") or load_split(data / "train")
    names = first.meta.get("classes") or []
    classes = len(names) or int(first.labels.max()) + 1
    paths = {name: output_file(folder, name) for name in (*splits, *settings["conditions"])}
    outputs = {name: _read(path) for name, path in paths.items()}
    columns: dict[str, dict[str, np.ndarray]] = {}
    for name, values in outputs.items():
        split = splits.get(name, splits["test"])
        limit = settings["conditions"].get(name) or len(split)
        columns[name] = _columns(values, paths[name], name, split.labels[: min(limit, len(split))], classes)
        if name != "train" and not is_condition(name):
            columns[name] |= _passes(values, paths[name], settings["passes"], columns[name]["logits"].shape)
    _same_scores(columns, paths)
    maps: dict[str, Any] = {}
    if settings.get("maps"):
        tested = {name: values for name, values in outputs.items() if name in splits and name not in FITTED}
        more, maps = given_maps(tested, splits, paths)
        for name, values in more.items():
            columns[name] |= values
    if settings.get("boxes"):
        columns["test"] |= given_boxes(outputs["test"], splits["test"], paths["test"])
    train = columns.pop("train", None)
    features = _features(outputs, paths, bool(settings["features"]), [n for n in outputs if not is_condition(n)])
    run = {key: settings[key] for key in ("benchmark", "method", "seed")} | {"use": EXTERNAL, "classes": classes}
    head = _head(folder, classes, features)
    tensors = dict(head)
    if train is not None and features:
        tensors |= {"train/logits": train["logits"], "train/labels": first.labels.astype(np.int32)}
    facts = {
        **run,
        "splits": {name: split.meta["content"] for name, split in splits.items()},
        "fitted": {},
        **({"maps": maps} if maps else {}),
        "native": [name.removeprefix("score_") for name in columns["test"] if name.startswith("score_")],
        "versions": {package: version(package) for package in ("numpy", "pyarrow")},
    }
    write_features(out / "features.safetensors", tensors, features, run)
    write_predictions(out / "predictions.parquet", columns, facts)
    files = {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths.values()}
    if head:
        files["head.npz"] = sha256_file(folder / "head.npz")
    _write_record(run_out, settings, external, first, names or [str(one) for one in range(classes)], files, code, data)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name; columns `logits_<i>` and `features_<i>` are joined in their order."""
    if path.suffix == ".npz":
        return read_npz(path)
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, skipinitialspace=True)
        else:
            table = pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException, pd.errors.ParserError) as error:
        raise ReproodError(f"{path} cannot be read as a table ({error}).") from error
    fits(8 * table.size, str(path))
    found = {str(name): np.asarray(table[name].to_list()) for name in table.columns if not _numbered(str(name))}
    for kind in ("logits", "features"):
        numbered = sorted((name for name in table.columns if _numbered(str(name)) == kind), key=_number)
        if numbered:
            if [_number(name) for name in numbered] != list(range(len(numbered))):
                raise ReproodError(f"{path}: the columns {kind}_<i> must be numbered from 0 on without a gap.")
            found[kind] = table[numbered].to_numpy()
    return found


def _numbered(name: str) -> str:
    kind, _, number = name.rpartition("_")
    return kind if kind in ("logits", "features") and number.isdecimal() else ""


def _number(name: object) -> int:
    return int(str(name).rpartition("_")[2])


def _array(values: Mapping[str, np.ndarray], name: str, path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return an array of finite numbers of a shape (None: any size)."""
    array = np.asarray(values[name])
    fitting = array.ndim == len(shape) and all(w is None or w == n for w, n in zip(shape, array.shape, strict=True))
    if not fitting or array.dtype.kind not in "fiu":
        wanted = " x ".join("d" if size is None else str(size) for size in shape)
        raise ReproodError(f"{path}: {name} is {array.dtype} of shape {array.shape}; expected {wanted} numbers.")
    wrong = len(array) - int(np.isfinite(array).reshape(len(array), -1).all(axis=1).sum())
    if wrong:
        raise ReproodError(f"{path}: {name} is not finite in {wrong} of {len(array)} rows.")
    return array


def _columns(
    values: Mapping[str, np.ndarray], path: Path, split: str, labels: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """Return the columns of a split's rows, as the predict stage names them."""
    rows = {name: len(array) for name, array in values.items() if array.ndim}
    wrong = next((name for name, count in rows.items() if count != len(labels)), None)
    if wrong is not None:
        raise ReproodError(
            f"{path}: {wrong} has {rows[wrong]:,} rows; the split '{split}' has {len(labels):,} images, in the order "
            "of its folder below data/benchmarks/."
        )
    if "label" in values:
        _same_labels(_array(values, "label", path, (len(labels),)), labels, path, split)
    if "logits" in values:
        logits = _array(values, "logits", path, (len(labels), classes)).astype(np.float32)
    elif classes == 1:
        logits = np.zeros((len(labels), 1), np.float32)
    else:
        raise ReproodError(f"{path} has no logits; the split '{split}' needs {len(labels):,} rows of {classes}.")
    own = {name: values[name] for name in values if name.startswith("score_") and not is_condition(split)}
    for name in own:
        if not SCORE.fullmatch(name) or name.removeprefix("score_") in registry.names():
            raise ReproodError(
                f"{path}: a score cannot be named '{name}'; expected score_ and a name of lower-case letters, digits "
                "and '_' that is not a detector's."
            )
    if classes == 1 and not own and not is_condition(split):
        raise ReproodError(f"{path}: with one class logits say nothing; give a score as score_<name>.")
    return {
        "row": np.arange(len(labels), dtype=np.int32),
        "label": labels.astype(np.int32),
        "prediction": logits.argmax(axis=1).astype(np.int32),
        "label_rank": ranks(logits, labels),
        "logits": logits,
        **{name: _array(own, name, path, (len(labels),)).astype(np.float64) for name in sorted(own)},
    }


def _passes(
    values: Mapping[str, np.ndarray], path: Path, names: Sequence[str], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return the logits of the forward passes that detectors ask for."""
    for name in names:
        if f"pass_{name}" not in values:
            raise ReproodError(
                f"{path} has no pass_{name}, which a detector of this benchmark reads; add it, or take that detector "
                "out of the benchmark."
            )
    return {f"pass_{name}": _array(values, f"pass_{name}", path, shape).astype(np.float32) for name in names}


def ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many classes come before the right one, int32 [N]; -1 without a label.

    Ties go to the lower class number, as in `reprood.predict.forward.label_ranks`.

    Examples
    --------
    >>> ranks(np.array([[2.0, 1.0], [1.0, 1.0], [0.0, 1.0]]), np.array([0, 1, -1])).tolist()
    [0, 1, -1]
    """
    right = np.clip(labels, 0, None)[:, None]
    own = np.take_along_axis(logits, right, axis=1)
    earlier = np.arange(logits.shape[1]) < right
    before = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return np.where(labels >= 0, before, -1).astype(np.int32)


def _same_labels(given: np.ndarray, labels: np.ndarray, path: Path, split: str) -> None:
    """Check the order of the rows by their labels, where the prepared split has some."""
    differing = np.flatnonzero((labels >= 0) & (given != labels))
    if len(differing):
        row = int(differing[0])
        raise ReproodError(
            f"{path}: {len(differing):,} of {len(labels):,} labels differ from those of the split '{split}', first in "
            f"row {row}: {given[row]:g} instead of {labels[row]}; write the rows in the order of its folder below "
            "data/benchmarks/."
        )


def _same_scores(columns: Mapping[str, Mapping[str, np.ndarray]], paths: Mapping[str, Path]) -> None:
    """Check that every tested split has the same scores."""
    expected = {name for name in columns["test"] if name.startswith("score_")}
    for split, values in columns.items():
        differing = expected ^ {name for name in values if name.startswith("score_")}
        if differing and split != "train" and not is_condition(split):
            raise ReproodError(
                f"{paths[split]} and {paths['test']} differ in '{min(differing)}'; every split needs the same scores."
            )


def _features(
    outputs: Mapping[str, Mapping[str, np.ndarray]], paths: Mapping[str, Path], needed: bool, splits: list[str]
) -> dict[str, np.ndarray]:
    """Return the features of every split as float32; empty when no detector reads them."""
    if not needed:
        return {}
    found: dict[str, np.ndarray] = {}
    width: int | None = None
    for name in splits:
        if "features" not in outputs[name]:
            raise ReproodError(
                f"{paths[name]} has no features, which a detector of this benchmark reads; add them, or take that "
                "detector out of the benchmark."
            )
        rows = len(outputs[name]["features"])
        found[name] = _array(outputs[name], "features", paths[name], (rows, width)).astype(np.float32)
        width = found[name].shape[1]
    return found


def _head(folder: Path, classes: int, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weight and bias of the last layer, if they are given."""
    path = folder / f"{HEAD}.npz"
    if not path.is_file():
        return {}
    values = read_npz(path)
    missing = [name for name in ("weight", "bias") if name not in values]
    if missing:
        raise ReproodError(f"{path} has no {missing[0]}; expected weight and bias of the last layer.")
    width = next(iter(features.values())).shape[1] if features else None
    return {
        "head/weight": _array(values, "weight", path, (classes, width)).astype(np.float32),
        "head/bias": _array(values, "bias", path, (classes,)).astype(np.float32),
    }


def _write_record(
    out: Path,
    settings: Mapping[str, Any],
    external: External,
    train: Split,
    class_names: list[str],
    files: Mapping[str, str],
    code: str,
    data: Path,
) -> None:
    """Write model.json, history.csv and run.json: what is known, and that nothing was trained here."""
    size, _, channels = train.images.shape[1:]
    model = {
        **{key: settings[key] for key in ("benchmark", "method", "seed")},
        "use": EXTERNAL,
        "backbone": {"name": external.network},
        "settings": {},
        "channels": channels,
        "size": size,
        "classes": len(class_names),
        "class_names": class_names,
        "parameters": external.parameters,
    }
    record = {
        "trained_here": False,
        "outputs": {"folder": external.folder, "files": dict(sorted(files.items()))},
        "versions": {package: version(package) for package in ("numpy", "pyarrow")},
        "device": "not trained here",
        "machine": {"processor": NOT_STATED, "cores": 0, "system": NOT_STATED},
        "threads": 0,
        "processes": 0,
        "precision": external.precision,
        "data": {name: load_split(data / name).meta["content"] for name in ("train", "validation", "test")},
        "code": code,
        "model": NOT_STATED,
        "phases": [],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_path(out / "history.csv") as temporary:
        temporary.write_text(HISTORY, encoding="utf-8")
    write_json(out / "model.json", model)
    write_json(out / "run.json", record)
