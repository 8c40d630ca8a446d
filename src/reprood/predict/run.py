"""Stage `predict`: run a trained model on every test split; one row a sample with every score.

One forward pass per split leaves logits and features in memory, and all detectors are computed from these. Those that
need gradients, and the method's own scores, make their own passes. Everything runs in fp32 and evaluation mode.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json
from reprood.data.arrays import Split, load_split
from reprood.detectors.names import FITTED_ON_TRAIN
from reprood.detectors.table import Known, Stored, each_detector, parse_options
from reprood.engine.device import make_repeatable, resolve_device
from reprood.images.augment import normalise
from reprood.predict.conditions import Asker, ask
from reprood.predict.localise import localise
from reprood.predict.native import fit_native, map_columns, with_labels
from reprood.train.run import load_model

BATCH = 250
CORRUPTED = "corrupted"
ENDS = ("x0", "y0", "x1", "y1")
ALWAYS = "msp"  # the calibration error is computed from it


class Lines:
    """Progress on standard error, for terminals and log files alike: what, how far, how fast, how long still."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self.start = time.monotonic()
        self.last = self.start

    def add(self, count: int, part: str, *, every: float = 5.0) -> None:
        """`count` more samples of `part` are done."""
        self.done += count
        now = time.monotonic()
        if now - self.last < every and self.done != self.total:
            return
        self.last = now
        speed = self.done / max(now - self.start, 1e-9)
        far, left = "", ""
        if self.total is not None:
            far, left = f"/{self.total}", f", {(self.total - self.done) / max(speed, 1e-9):.0f} s left"
        print(f"{self.what}: {part}, {self.done}{far} images, {speed:.0f} images/s{left}", file=sys.stderr, flush=True)

    def watched(self, batches: Callable[[], Iterator[Tensor]], part: str) -> Callable[[], Iterator[Tensor]]:
        """The same batches, counted."""

        def counted() -> Iterator[Tensor]:
            for images in batches():
                yield images
                self.add(len(images), part)

        return counted


def image_batches(
    split: Split, meta: Mapping[str, Any], device: torch.device, batch_size: int
) -> Callable[[], Iterator[Tensor]]:
    """A function that runs over a split's images as normalised float32 batches [B, C, H, W] on the device."""

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(split), batch_size):
            part = np.array(np.moveaxis(split.images[start : start + batch_size], 3, 1), order="C")
            images = normalise(torch.from_numpy(part).to(device), meta["mean"], meta["std"])
            yield images.contiguous(memory_format=torch.channels_last)

    return batches


@torch.no_grad()
def forward_pass(
    model: nn.Module,
    head: tuple[Tensor, Tensor] | None,
    batches: Callable[[], Iterator[Tensor]],
) -> Stored:
    """Logits and features of a split.

    With an affine head the logits are taken from the features, otherwise the network is asked for both.

    Raises
    ------
    ReproodError
        When the affine head does not give the network's logits, or an output is not finite.
    """
    logits, features = [], []
    for number, images in enumerate(batches()):
        found: Tensor = model.features(images)  # type: ignore[operator]
        answer: Tensor = model(images) if head is None or number == 0 else functional.linear(found, *head)
        if (
            head is not None
            and number == 0
            and not torch.allclose(answer, functional.linear(found, *head), rtol=1e-3, atol=1e-3)
        ):
            raise ReproodError(
                f"{type(model).__name__}.linear_head() does not give the network's logits; correct it or return None."
            )
        logits.append(answer)
        features.append(found)
    stored = Stored(torch.cat(logits), torch.cat(features), batches)
    if not bool(torch.isfinite(stored.logits).all()):
        raise ReproodError("The network's logits are not finite; the training has diverged, train it again.")
    return stored


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the right one (ties: lower numbers first); -1 where the label is; int32 [N]."""
    right = labels.clamp(min=0)[:, None]
    own = logits.gather(1, right)
    earlier = torch.arange(logits.shape[1], device=logits.device) < right
    before = ((logits > own) | ((logits == own) & earlier)).sum(dim=1)
    return torch.where(labels >= 0, before, -1).to(torch.int32)


def predict_run(
    run_folder: Path,
    splits: Mapping[str, Path],
    detectors: Mapping[str, Mapping[str, Any] | None],
    out: Path,
    *,
    asked: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = BATCH,
) -> None:
    """Score every sample of a run's splits and write `predictions.parquet` (the same run gives the same bytes).

    Parameters
    ----------
    run_folder : Path
        A trained run: model.safetensors, model.json.
    splits : mapping
        Split name -> folder: "train" (only fitted on; may be left out when no detector needs it), "validation", "test",
        then the OOD sets, then "corrupted" when it is asked for. The rows written are those of all but "train", in
        this order.
    detectors : mapping
        Detector name -> options. What the model's outputs do not allow is skipped, with a reason in the metadata.
        The maximum softmax probability is always computed, but for a model of one class.
    out : Path
        Columns split, row, label (-1 for OOD), prediction, label_rank (0 = top-1 right, -1 = no label) and a float64
        `score_<name>` for each score (higher = more in-distribution); the metadata key `reprood` tells the rest.
        Rows of a condition (a changed copy of the first test images) have the condition's name as split and no scores.
        With segmentation asked for, and a method that gives maps, test and OOD rows have `map` and `mask` (bytes; see
        `predict_native.map_columns`).
        With localisation asked for, the test rows have boxes: `box_*` (true), `cam_*` (of the predicted class) and
        `cam_true_*` (of the right class).
    asked : mapping, optional
        `evaluations`, `corruption`, `attacks`, `occlusion` of the benchmark.
    device : {"auto", "cpu", "cuda"}
        Where to run.
    threads : int or None
        CPU threads; the same number gives the same bits.
    batch_size : int
        Images in a forward pass.

    Raises
    ------
    ReproodError
        For missing or unfit files, unknown detectors or options, and scores that are not finite.
    """
    asked = asked or {}
    fitting = [name for name in FITTED_ON_TRAIN if name in detectors]
    needed = ("train", "validation", "test") if fitting else ("validation", "test")
    missing = [name for name in needed if name not in splits]
    if missing:
        raise ReproodError(f"Prediction needs the splits {', '.join(needed)}; {', '.join(missing)} is missing.")
    where = resolve_device(device)
    make_repeatable(where, threads)
    model, meta, module, config = load_model(Path(run_folder), where)
    if meta["classes"] > 1:
        detectors = {ALWAYS: {}, **detectors}
    parse_options(detectors)  # before the work
    model.requires_grad_(False)
    arrays = {name: load_split(Path(folder)) for name, folder in splits.items()}
    corrupted = arrays.pop(CORRUPTED, None)
    _check(arrays, meta)
    name = "/".join(str(meta[key]) for key in ("benchmark", "method", "seed"))
    lines = Lines(name, sum(len(split) for split in arrays.values()))
    head = model.linear_head()  # type: ignore[operator]
    more = Lines(f"{name}, further passes", None)
    stored = {}
    for split, array in arrays.items():
        batches = image_batches(array, meta, where, batch_size)
        outputs = forward_pass(model, head, lines.watched(batches, split))
        stored[split] = replace(outputs, batches=more.watched(batches, split))
    labels = {split: torch.from_numpy(np.array(array.labels)).to(where) for split, array in arrays.items()}
    written = {split: outputs for split, outputs in stored.items() if split != "train"}
    base = "train" if "train" in stored else "validation"
    known = Known(
        train=stored[base],
        labels=labels[base],
        validation=stored["validation"],
        head=head,
        model=model,
        std=torch.tensor(meta["std"], device=where),
    )
    scores: dict[str, dict[str, Tensor]] = {split: {} for split in written}
    fitted: dict[str, dict[str, float]] = {}
    skipped: dict[str, str] = {}
    for detector, found, numbers, reason in each_detector(detectors, known, written):
        _say(name, detector, reason)
        if reason is not None:
            skipped[detector] = reason
        if numbers:
            fitted[detector] = numbers
        for split, values in found.items():
            scores[split][detector] = values
    training = stored["train"].batches if "train" in stored else None
    native = fit_native(
        module,
        model,
        config,
        with_labels(training, labels["train"]) if training is not None else None,
        stored["validation"],
        labels["validation"],
        name,
    )
    own = {split: native.scores(outputs) for split, outputs in written.items()}
    for split, found in own.items():
        doubled = sorted(set(found) & set(scores[split]))
        if doubled:
            raise ReproodError(f"The method {meta['use']} names its score {doubled[0]}, which is a detector's name.")
        scores[split].update(found)
    if native.numbers:
        fitted[str(meta["use"])] = dict(native.numbers)
    columns = {split: _columns(written[split].logits, labels[split], scores[split]) for split in written}
    asker = Asker(model, meta, where, batch_size, lambda count, part: more.add(count, part))
    for condition, answers in ask(asker, arrays["test"], labels["test"], corrupted, asked, str(meta["benchmark"])):
        columns[condition] = _columns(answers, labels["test"][: len(answers)], {})
    if "localisation" in asked.get("evaluations", ()):
        columns["test"] |= _boxes(model, arrays["test"], written["test"], labels["test"])
    maps: dict[str, Any] = {}
    if "segmentation" in asked.get("evaluations", ()):
        tested = {split: outputs for split, outputs in written.items() if split != "validation"}
        more_columns, maps = map_columns(native, tested, arrays)
        for split, found_maps in more_columns.items():
            columns[split] |= found_maps
    facts = {
        **{key: meta[key] for key in ("benchmark", "method", "seed", "use", "classes")},
        "splits": {
            split: array.meta["content"]
            for split, array in {**arrays, **({CORRUPTED: corrupted} if corrupted else {})}.items()
        },
        "fitted": fitted,
        "skipped": skipped,
        **({"maps": maps} if maps else {}),
        "native": list(next(iter(own.values()))),  # the first one is shown first
        "versions": {package: version(package) for package in ("numpy", "torch", "pyarrow")},
    }
    _write(out, columns, facts)


def _say(run: str, detector: str, reason: str | None) -> None:
    print(f"{run}: {detector} {'scored' if reason is None else f'skipped: {reason}'}", file=sys.stderr, flush=True)


def _check(arrays: Mapping[str, Split], meta: Mapping[str, Any]) -> None:
    wanted = (meta["size"], meta["size"], meta["channels"])
    for split in arrays.values():
        if split.images.shape[1:] != wanted:
            raise ReproodError(
                f"{split.folder} has images of shape {split.images.shape[1:]}, the model was trained on {wanted}; "
                "prepare all splits of a benchmark by one rule."
            )
    for name in [split for split in ("train", "validation", "test") if split in arrays]:
        labels = arrays[name].labels
        if labels.min() < 0 or labels.max() >= meta["classes"]:
            raise ReproodError(
                f"{arrays[name].folder} has labels from {labels.min()} to {labels.max()}; the model knows "
                f"{meta['classes']} classes, 0 to {meta['classes'] - 1}."
            )


def _columns(logits: Tensor, labels: Tensor, scores: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {
        "row": np.arange(len(labels), dtype=np.int32),
        "label": labels.to(torch.int32).cpu().numpy(),
        "prediction": logits.argmax(dim=1).to(torch.int32).cpu().numpy(),
        "label_rank": ranks(logits, labels).cpu().numpy(),
    }
    for name, values in scores.items():
        column = values.detach().double().cpu().numpy()
        if not np.isfinite(column).all():
            raise ReproodError(
                f"The score {name} is not finite for {int((~np.isfinite(column)).sum())} of {len(column)} samples; "
                "leave the detector out or train the run again."
            )
        columns[f"score_{name}"] = column
    return columns


def _boxes(model: nn.Module, test: Split, outputs: Stored, labels: Tensor) -> dict[str, np.ndarray]:
    """True boxes and those of the class activation maps; int32 columns of the test rows."""
    if "boxes" not in test.extras:
        raise ReproodError(f"{test.folder} has no boxes; 'localisation' needs a test set of objects with boxes.")
    assert outputs.batches is not None
    found = localise(model, outputs.batches, outputs.logits.argmax(dim=1), labels, test.images.shape[1])
    named = {"box": test.extras["boxes"], "cam": found.predicted, "cam_true": found.true}
    return {
        f"{name}_{end}": np.asarray(boxes[:, i], np.int32)
        for name, boxes in named.items()
        for i, end in enumerate(ENDS)
    }


def _write(out: Path, splits: Mapping[str, Mapping[str, np.ndarray]], facts: Mapping[str, Any]) -> None:
    """One table of all splits; null where a column does not apply; no date and no path in it."""
    names = [split for split, columns in splits.items() for _ in range(len(columns["row"]))]
    columns: dict[str, pa.Array] = {"split": pa.array(names, pa.string())}
    for column in dict.fromkeys(name for values in splits.values() for name in values):
        first = next(v[column] for v in splits.values() if column in v)
        kind = pa.binary() if first.dtype == object else pa.from_numpy_dtype(first.dtype)
        parts = [pa.array(v[column], kind) if column in v else pa.nulls(len(v["row"]), kind) for v in splits.values()]
        columns[column] = pa.concat_arrays(parts)
    table = pa.table(columns).replace_schema_metadata({"reprood": canonical_json(facts)})
    with atomic_path(out) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            use_dictionary=["split"],
            use_byte_stream_split=[name for name in columns if name.startswith("score_")],
        )
