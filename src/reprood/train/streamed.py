"""Stage `train` for streamed benchmarks: the training images stay in files, and the other splits are memory-mapped.

A method that can be trained so defines `train_streamed(problem, config, run)` at the top level of its module. Files and
record of a run are those of `reprood.train.run`, so that all later stages work as usual.
"""

import csv
import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as serialised
from torch import nn

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, file_lock, sha256_file, write_json
from reprood.core.registry import available, load
from reprood.data.arrays import load_split
from reprood.data.image_index import load_index
from reprood.engine.device import (
    device_name,
    keep_freed_memory,
    make_repeatable,
    resolve_device,
    resolve_precision,
)
from reprood.engine.distributed import Workers, join_workers
from reprood.engine.run import NoProgress, Progress, Run, never
from reprood.engine.seeds import derive_seed
from reprood.engine.streaming import Pictures, StreamedProblem
from reprood.methods import registry
from reprood.train.run import HISTORY, RECORD, network, parse_config, supports_data_parallel

FUNCTION = "train_streamed"
MONITORED = ("validation", "test")


def load_streamed(
    settings: Mapping[str, Any], data: Path, loaders: int
) -> tuple[StreamedProblem, list[str], dict[str, str]]:
    """Load a streamed benchmark; return its problem, class names, and the identity of each split's content.

    Raises
    ------
    ReproodError
        When a split is missing, or the splits do not fit each other.
    """
    train = load_split(data / "train")
    index = load_index(train)
    others = {name: load_split(data / name) for name in MONITORED}
    names = list(index.classes)
    classes = len(names) or int(index.labels.max()) + 1
    shape = others["test"].images.shape[1:]
    for split in others.values():
        if split.images.shape[1:] != shape or 0 in shape or shape[0] != shape[1]:
            raise ReproodError(
                f"{split.folder} has images of shape {split.images.shape[1:]}; expected square images of one size in "
                "the validation and the test split: prepare the benchmark again."
            )
    for split in (train, *others.values()):
        if split.labels.min() < 0 or split.labels.max() >= classes:
            raise ReproodError(
                f"{split.folder} has labels from {split.labels.min()} to {split.labels.max()}; expected 0 to "
                f"{classes - 1}."
            )
    problem = StreamedProblem(
        train=Pictures(index, shape[0]),
        labels=torch.from_numpy(np.array(index.labels)),
        monitor={name: (split.images, split.labels) for name, split in others.items()},
        classes=classes,
        channels=shape[2],
        size=shape[0],
        backbone=lambda: network(settings, shape[2]),
        loaders=loaders,
    )
    return problem, names, {split.folder.name: split.meta["content"] for split in (train, *others.values())}


def train_streamed_run(
    settings: Mapping[str, Any],
    *,
    data: Path,
    out: Path,
    state: Path,
    device: str = "auto",
    threads: int = 1,
    checkpoint_seconds: float = 60.0,
    code: str = "",
    machine: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    data_parallel: bool = False,
) -> None:
    """Train one run on streamed images and write its four files; an interrupted one resumes.

    Parameters as for `reprood.train.run.train_run`; `threads` is also the number of processes that read images.

    Raises
    ------
    ReproodError
        As `train_run`, and for a damaged or missing image, or a method that cannot be trained so.
    Stopped
        When `stop` requested it.
    """
    missing = [key for key in RECORD if key not in settings]
    if missing:
        raise ReproodError(
            f"The settings of a training have no {', '.join(missing)}; copy them from `snakemake -n -p`."
        )
    name = f"{settings['benchmark']}/{settings['method']}/{settings['seed']}"
    method, config = registry.method(settings["use"]), parse_config(settings)
    if settings["use"] not in available("methods", FUNCTION):
        raise ReproodError(
            f"{name}: {settings['use']} cannot be trained on streamed images; use one of "
            f"{', '.join(available('methods', FUNCTION))}."
        )
    if data_parallel and not supports_data_parallel(method):
        raise ReproodError(f"{name}: {settings['use']} cannot be trained by several processes; use one process.")
    target = resolve_device(device)
    make_repeatable(target, threads)
    keep_freed_memory()
    busy = f"Another process is training {name} (it holds {state / 'lock'}); wait for it or stop it."
    with join_workers(target) if data_parallel else nullcontext(Workers()) as workers:
        main = workers.rank == 0
        with file_lock(state / "lock", wait=False, busy=busy) if main else nullcontext():
            problem, names, contents = load_streamed(settings, data, max(threads, 1))
            facts = _facts(settings, contents, target, workers)
            run = Run(
                name=name,
                root_seed=derive_seed(settings["suite_seed"], settings["benchmark"], int(settings["seed"])),
                state=state,
                device=target,
                precision=facts["precision"],
                checkpoint_seconds=checkpoint_seconds,
                channels_last=facts["channels_last"],
                compile=facts["compile"],
                key=hashlib.sha256(canonical_json([settings, facts]).encode()).hexdigest(),
                progress=progress if progress is not None and main else NoProgress(),
                stop=stop or never,
                workers=workers,
            )
            model, history = load("methods", settings["use"], FUNCTION)(problem, config, run)
            workers.any(False)  # every process has read the last checkpoint before it is removed
            if not main:
                return
            _write_model(out, model, settings, config.model_dump(mode="json"), problem, names)
            _write_history(out, history)
            record = {
                **facts,
                "code": code,
                "machine": dict(machine or {}),
                "model": sha256_file(out / "model.safetensors"),
                "root_seed": run.root_seed,
                "phases": run.log,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_json(out / "run.json", record)
            for path in state.iterdir():
                path.unlink()
            state.rmdir()


def _facts(
    settings: Mapping[str, Any], contents: Mapping[str, str], device: torch.device, workers: Workers
) -> dict[str, Any]:
    """Return what the bits of the result depend on in addition to code and settings."""
    packages = ("numpy", "torch", "torchvision", "pillow", "safetensors")
    return {
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": workers.size,
        "precision": resolve_precision(settings["precision"], device),
        "channels_last": True,
        "compile": bool(settings.get("compile", False)) and device.type == "cuda",
        "data": dict(contents),
    }


def _write_model(
    out: Path,
    model: nn.Module,
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    problem: StreamedProblem,
    names: Sequence[str],
) -> None:
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with atomic_path(out / "model.safetensors") as temporary:
        temporary.write_bytes(serialised(tensors))
    meta = {
        **{key: settings[key] for key in ("benchmark", "method", "seed", "use", "backbone")},
        "settings": config,
        "channels": problem.channels,
        "size": problem.size,
        "classes": problem.classes,
        "class_names": list(names),
        "mean": problem.mean,
        "std": problem.std,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    write_json(out / "model.json", meta)


def _write_history(out: Path, history: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys([*HISTORY, *(key for row in history for key in row)]))
    with atomic_path(out / "history.csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
