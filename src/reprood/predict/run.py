"""Stage `predict`: run a trained model on every test split and store its raw outputs.

One forward pass per split gives logits and penultimate features. Passes on perturbed images, which some detectors
request, and the method's own scores follow. Everything runs in fp32 and evaluation mode. No detector runs here: the
evaluate stage computes detectors from what is stored.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split, load_split
from reprood.engine.device import keep_freed_memory, make_repeatable, resolve_device
from reprood.predict.boxes import box_columns, true_boxes
from reprood.predict.conditions import ConditionRunner, run_conditions
from reprood.predict.feature_step import ClassGaussians, fit_gaussians
from reprood.predict.files import write_features, write_predictions
from reprood.predict.forward import Stored, forward_pass, image_batches, label_ranks
from reprood.predict.localise import localise
from reprood.predict.native import fit_native, map_columns, with_labels
from reprood.predict.passes import needs_gaussians, run_passes
from reprood.train.run import load_model

BATCH = 250
CORRUPTED = "corrupted"

Progress = Callable[[str, int, int | None], None]


def _silent(part: str, done: int, total: int | None) -> None:
    """Report no progress."""


class _Counter:
    """Count images and report them: (what is being computed, images done, images in all or None)."""

    def __init__(self, report: Progress, total: int | None) -> None:
        self.report, self.total, self.done = report, total, 0

    def add(self, count: int, part: str) -> None:
        self.done += count
        self.report(part, self.done, self.total)

    def counted(self, batches: Callable[[], Iterator[Tensor]], part: str) -> Callable[[], Iterator[Tensor]]:
        """Return the same batches, counted."""

        def iterate() -> Iterator[Tensor]:
            for images in batches():
                yield images
                self.add(len(images), part)

        return iterate


def predict_run(
    run_folder: Path,
    splits: Mapping[str, Path],
    out: Path,
    *,
    requests: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    batch_size: int = BATCH,
    progress: Progress = _silent,
) -> None:
    """Store a run's outputs on its splits: `predictions.parquet` and `features.safetensors`.

    The same run gives the same bytes.

    Parameters
    ----------
    run_folder : Path
        A trained run: model.safetensors, model.json.
    splits : mapping
        Split name -> folder: "train" (only when something is fitted on it), "validation", "test", then the OOD sets,
        then "corrupted" when corruptions are requested.
    out : Path
        Folder to write into.

        `predictions.parquet` has one row per sample of all splits but "train", in this order, then of all conditions
        (changed copies of the first test images, named by the condition). Columns: split, row, label (-1 for OOD),
        prediction, label_rank (0 = top-1 right, -1 = no label; of two mixed images the better one), `logits` (float32,
        a list of fixed size); for the splits also `score_<name>` (float64, higher = more in-distribution) for each
        score of the method itself and `pass_<name>` (float32 logits) for each requested pass. With segmentation
        requested, and a method that gives maps, test and OOD rows have `map` and `mask` (bytes; see
        `reprood.predict.native.map_columns`). With localisation requested, test rows have boxes: `box_*` (true),
        `cam_*` (of the predicted class) and `cam_true_*` (of the right class), and the latter two again as
        `cam_minmax_*` and `cam_true_minmax_*` by the second rule of `reprood.predict.localise.boxes_of`; with several
        true boxes of an image also overlaps `iou_*` (see `reprood.predict.boxes`). The metadata key `reprood` holds the
        rest.

        `features.safetensors` has weight and bias of the last layer when it is affine (`head/weight`, `head/bias`).
        With features requested, also `features/<split>` in half precision, and logits and labels of the training split
        (`train/logits`, `train/labels`) when it is among the splits.
    requests : mapping, optional
        `features` (bool), `passes` (see `reprood.predict.passes`); `evaluations`, `corruption`, `attacks`, `occlusion`,
        `between` of the benchmark.
    device : {"auto", "cpu", "cuda"}
        Where to run.
    threads : int or None
        CPU threads; the same number gives the same bits.
    batch_size : int
        Images in a forward pass.
    progress : callable
        (what is being computed, images done, images in all or None), called after each batch.

    Raises
    ------
    ReproodError
        For missing or unfit files, and outputs that are not finite.
    """
    requests = requests or {}
    missing = [name for name in ("validation", "test") if name not in splits]
    if missing:
        raise ReproodError(f"Prediction needs the splits validation and test; {', '.join(missing)} is missing.")
    where = resolve_device(device)
    make_repeatable(where, threads)
    keep_freed_memory()
    model, meta, module, config = load_model(Path(run_folder), where)
    model.requires_grad_(False)
    arrays = {name: load_split(Path(folder)) for name, folder in splits.items()}
    corrupted = arrays.pop(CORRUPTED, None)
    _check(arrays, meta)
    name = "/".join(str(meta[key]) for key in ("benchmark", "method", "seed"))
    head = model.linear_head()  # type: ignore[operator]
    keep = bool(requests.get("features"))

    passed = [split for split in arrays if split != "train" or keep]  # else only the method's own scores need it
    first = _Counter(progress, sum(len(arrays[split]) for split in passed))
    further = _Counter(progress, None)
    batches = {split: image_batches(array, meta, where, batch_size) for split, array in arrays.items()}
    outputs = {
        split: forward_pass(model, head, first.counted(batches[split], split), keep_features=keep) for split in passed
    }
    again = {split: further.counted(batches[split], f"{split}, further passes") for split in arrays}
    stored = {split: Stored(result.logits, result.features, again[split]) for split, result in outputs.items()}
    labels = {split: torch.from_numpy(np.array(array.labels)).to(where) for split, array in arrays.items()}
    written = {split: result for split, result in stored.items() if split != "train"}
    columns = {split: _columns(result.logits, labels[split]) for split, result in written.items()}

    std = torch.tensor(meta["std"], device=where)
    gaussians = _gaussians(requests.get("passes") or {}, stored.get("train"), labels.get("train"), meta["classes"])
    for split in written:
        passes = run_passes(model, again[split](), std, requests["passes"], gaussians) if requests.get("passes") else {}
        columns[split] |= {f"pass_{key}": _finite(logits, f"pass {key}") for key, logits in passes.items()}
    native = fit_native(
        module,
        model,
        config,
        with_labels(again["train"], labels["train"]) if "train" in arrays else None,
        stored["validation"],
        labels["validation"],
        name,
    )
    own = {split: native.scores(result) for split, result in written.items()}
    for split, scores in own.items():
        columns[split] |= {f"score_{key}": _finite(values.double(), f"score {key}") for key, values in scores.items()}

    runner = ConditionRunner(model, meta, where, batch_size, further.add)
    for condition, logits, second in run_conditions(
        runner, arrays["test"], labels["test"], corrupted, requests, str(meta["benchmark"])
    ):
        columns[condition] = _columns(logits, labels["test"][: len(logits)])
        if second is not None:  # the better rank of the two labels
            columns[condition]["label_rank"] = np.minimum(
                columns[condition]["label_rank"], _array(label_ranks(logits, second))
            )
    if "localisation" in requests.get("evaluations", ()):
        threshold = float(requests["localisation"]["threshold"])
        columns["test"] |= _boxes(model, arrays["test"], written["test"], labels["test"], threshold)
    maps: dict[str, Any] = {}
    if "segmentation" in requests.get("evaluations", ()):
        tested = {split: result for split, result in written.items() if split != "validation"}
        more_columns, maps = map_columns(native, tested, arrays)
        for split, more in more_columns.items():
            columns[split] |= more

    run = {key: meta[key] for key in ("benchmark", "method", "seed", "use", "classes")}
    contents = {**arrays, **({CORRUPTED: corrupted} if corrupted else {})}
    facts = {
        **run,
        "splits": {split: array.meta["content"] for split, array in contents.items()},
        "fitted": {str(meta["use"]): dict(native.numbers)} if native.numbers else {},
        **({"maps": maps} if maps else {}),
        "native": list(next(iter(own.values()))),  # the first one is shown first
        "versions": {package: version(package) for package in ("numpy", "torch", "pyarrow")},
    }
    tensors = {} if head is None else {"head/weight": _array(head[0].float()), "head/bias": _array(head[1].float())}
    features = {}
    if keep:
        features = {
            split: _array(result.features.float()) for split, result in stored.items() if result.features is not None
        }
        if "train" in stored:
            tensors |= {
                "train/logits": _array(stored["train"].logits.float()),
                "train/labels": _array(labels["train"].to(torch.int32)),
            }
    write_features(out / "features.safetensors", tensors, features, run)
    write_predictions(out / "predictions.parquet", columns, facts)


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


def _gaussians(
    passes: Mapping[str, Mapping[str, Any]], train: Stored | None, labels: Tensor | None, classes: int
) -> ClassGaussians | None:
    """Return class means and covariance of the training features, if a pass needs them and they were computed."""
    if not needs_gaussians(passes.values()) or train is None or train.features is None or labels is None:
        return None
    return fit_gaussians(train.features, labels, classes)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _finite(values: Tensor, what: str) -> np.ndarray:
    array = _array(values)
    wrong = len(array) - int(np.isfinite(array).reshape(len(array), -1).all(axis=1).sum())
    if wrong:
        raise ReproodError(
            f"The {what} is not finite for {wrong} of {len(array)} samples; leave it out or train the run again."
        )
    return array


def _columns(logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    return {
        "row": np.arange(len(labels), dtype=np.int32),
        "label": _array(labels.to(torch.int32)),
        "prediction": _array(logits.argmax(dim=1).to(torch.int32)),
        "label_rank": _array(label_ranks(logits, labels)),
        "logits": _array(logits.float()),
    }


def _boxes(model: nn.Module, test: Split, outputs: Stored, labels: Tensor, threshold: float) -> dict[str, np.ndarray]:
    """Return the true boxes and those of the class activation maps, columns of the test rows."""
    true = true_boxes(test)
    assert outputs.batches is not None
    boxes = localise(model, outputs.batches, outputs.logits.argmax(dim=1), labels, test.images.shape[1], threshold)
    found: dict[str, np.ndarray] = {}
    for rule, own in boxes.items():
        suffix = "" if rule == "maximum" else f"_{rule}"
        found |= {f"cam{suffix}": own.predicted, f"cam_true{suffix}": own.true}
    return box_columns(true, found)
