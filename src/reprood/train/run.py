"""Stage `train`: pass a benchmark's problem to a method, train, and store the model.

Writes model.safetensors, model.json (all that is needed to rebuild the network), history.csv and run.json.
"""

import csv
import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import nn

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, file_lock, read_json, sha256_file, write_json
from reprood.core.messages import explain_validation
from reprood.engine.device import device_name, keep_freed_memory, make_repeatable, resolve_device, resolve_precision
from reprood.engine.distributed import Workers, join_workers
from reprood.engine.problem import Problem, load_problem
from reprood.engine.run import NoProgress, Progress, Run, never
from reprood.engine.seeds import derive_seed, seeded
from reprood.engine.settings import read_settings
from reprood.methods import registry
from reprood.methods.base import Method
from reprood.nets.registry import backbone

RECORD = ("benchmark", "method", "seed", "suite_seed", "use", "settings", "backbone", "precision")
LARGEST_OPTION = 4096  # upper bound of the depth, width and stride of a network
HISTORY = ("phase", "epoch", "lr", "train_loss")


def parse_config(record: Mapping[str, Any]) -> Any:
    """Return the method's `Config`: its paper's values, overridden by the record's settings.

    Raises
    ------
    ReproodError
        For an unknown or invalid setting; names the run and the key.
    """
    form: type[BaseModel] = registry.method(record["use"]).config
    return read_settings(form, record["settings"], f"{record['benchmark']}/{record['method']}")


def network(record: Mapping[str, Any], channels: int) -> nn.Module:
    """Build the untrained backbone of a record; call it inside `seeded`.

    Raises
    ------
    ReproodError
        For an unknown network or option.
    """
    options = dict(record["backbone"])
    large = next((key for key, value in options.items() if isinstance(value, int) and value > LARGEST_OPTION), None)
    if large is not None:
        raise ReproodError(
            f"{record['benchmark']}/{record['method']}: backbone.{large} is {options[large]}; expected at most "
            f"{LARGEST_OPTION}."
        )
    build = backbone(str(options.pop("name", "")))
    try:
        return build(channels, **options)
    except (TypeError, RuntimeError, MemoryError) as error:  # the last two: not enough memory
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReproodError(
            f"{record['benchmark']}/{record['method']}: backbone {record['backbone']}: {reason}; correct the options."
        ) from error


def supports_data_parallel(method: object) -> bool:
    """Return whether a method declares `data_parallel` (see `reprood.engine.distributed`)."""
    return bool(getattr(method, "data_parallel", False))


def train_run(
    settings: Mapping[str, Any],
    *,
    data: Path,
    out: Path,
    state: Path,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_seconds: float = 60.0,
    code: str = "",
    machine: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    data_parallel: bool = False,
) -> None:
    """Train one run and write its four files; an interrupted one resumes from its last checkpoint.

    Parameters
    ----------
    settings : mapping
        benchmark, method, seed, suite_seed, use, settings, backbone, precision; optionally `auxiliary` (names of
        splits that the method may train on) and `compile`.
    data : Path
        Folder of the benchmark's splits.
    out : Path
        Folder of the run.
    state : Path
        Folder of the resume checkpoints; removed once the model is in place.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    threads : int or None
        CPU threads; the same number gives the same bits.
    checkpoint_seconds : float
        Minimum seconds between two checkpoints: what a killed training may lose.
    code : str
        Fingerprint of the code, to be recorded.
    machine : mapping, optional
        Description of the machine, to be recorded (`reprood.core.machine.describe_machine`).
    progress : Progress, optional
        Display callbacks (`reprood.core.progress.TrainingProgress`); nothing is shown by default.
    stop : callable, optional
        Called after every step; when it returns True, a checkpoint is saved and `reprood.engine.run.Stopped` raised.
    data_parallel : bool
        Share every batch with the other processes that torchrun started (`reprood.engine.distributed`). Only rank 0
        writes files and shows progress.

    Raises
    ------
    ReproodError
        For wrong settings or data, a missing device, a diverging loss, a full disk, another process that is training
        the same run, or a method that cannot be trained data-parallel.
    Stopped
        When `stop` requested it.
    """
    missing = [key for key in RECORD if key not in settings]
    if missing:
        raise ReproodError(
            f"The settings of a training have no {', '.join(missing)}; copy them from `snakemake -n -p`."
        )
    name = f"{settings['benchmark']}/{settings['method']}/{settings['seed']}"
    resolved = resolve_device(device)
    make_repeatable(resolved, threads)
    keep_freed_memory()
    config = parse_config(settings)
    method = registry.method(settings["use"])
    if data_parallel and not supports_data_parallel(method):
        raise ReproodError(
            f"{name}: {settings['use']} cannot be trained by several processes, because its loss is not a plain mean "
            "over samples; train it with one process (without --data-parallel)."
        )
    auxiliary = tuple(settings.get("auxiliary", ()))
    folders = {split: data / split for split in ("train", "validation", "test", *auxiliary)}
    busy = f"Another process is training {name} (it holds {state / 'lock'}); wait for it or stop it."
    with join_workers(resolved) if data_parallel else nullcontext(Workers()) as workers:
        main = workers.rank == 0
        with file_lock(state / "lock", wait=False, busy=busy) if main else nullcontext():
            problem = load_problem(folders, lambda channels: network(settings, channels), resolved, auxiliary=auxiliary)
            facts = _facts(settings, folders, resolved, workers)
            run = Run(
                name=name,
                root_seed=derive_seed(settings["suite_seed"], settings["benchmark"], int(settings["seed"])),
                state=state,
                device=resolved,
                precision=facts["precision"],
                checkpoint_seconds=checkpoint_seconds,
                channels_last=facts["channels_last"],
                compile=facts["compile"],
                key=hashlib.sha256(canonical_json([settings, facts]).encode()).hexdigest(),
                progress=progress if progress is not None and main else NoProgress(),
                stop=stop or never,
                workers=workers,
            )
            model, history = method.train(problem, config, run)
            workers.any(False)  # every process has read the last checkpoint before it is removed
            if not main:
                return
            _write(out, model, history, settings, config, problem, folders["train"])
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
    settings: Mapping[str, Any], folders: Mapping[str, Path], device: torch.device, workers: Workers
) -> dict[str, Any]:
    """Return what the bits of the result depend on in addition to code and settings."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("numpy", "torch", "safetensors")},
        },
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": workers.size,
        "precision": resolve_precision(settings["precision"], device),
        "channels_last": True,
        "compile": bool(settings.get("compile", False)) and device.type == "cuda",
        "data": {split: read_json(folder / "meta.json").get("content") for split, folder in folders.items()},
    }


def _write(
    out: Path,
    model: nn.Module,
    history: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    config: BaseModel,
    problem: Problem,
    train: Path,
) -> None:
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with atomic_path(out / "model.safetensors") as temporary:
        temporary.write_bytes(serialised(tensors))
    meta = {
        **{key: settings[key] for key in ("benchmark", "method", "seed", "use", "backbone")},
        "settings": config.model_dump(mode="json"),
        "channels": problem.channels,
        "size": problem.size,
        "classes": problem.classes,
        "class_names": read_json(train / "meta.json").get("classes", []),
        "mean": problem.mean,
        "std": problem.std,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    write_json(out / "model.json", meta)
    columns = list(dict.fromkeys([*HISTORY, *(key for row in history for key in row)]))
    with atomic_path(out / "history.csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


class ModelRecord(BaseModel):
    """The part of model.json that is needed to rebuild and use the network; further keys are allowed."""

    benchmark: str
    method: str
    seed: int
    use: str
    backbone: dict[str, Any]
    settings: dict[str, Any]
    channels: int = Field(ge=1, le=3)
    size: int = Field(ge=1, le=4096)
    classes: int = Field(ge=1, le=1_000_000)
    mean: tuple[FiniteFloat, ...]
    std: tuple[Annotated[FiniteFloat, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _one_per_channel(self) -> "ModelRecord":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("mean and std must hold one number per channel")
        return self


def load_model(folder: Path, device: torch.device | str) -> tuple[nn.Module, dict[str, Any], Method[Any, Any], Any]:
    """Load a trained run's model in evaluation mode.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    device : torch.device or str
        Where to put the model.

    Returns
    -------
    model, meta, method, config
        `meta` is model.json (channels, size, classes, mean, std, ...), `method` the method's record, `config` its
        settings.

    Raises
    ------
    ReproodError
        When files are missing or do not belong together.
    """
    meta: dict[str, Any] = read_json(folder / "model.json")
    try:
        ModelRecord.model_validate(meta)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(folder / "model.json"))) from error
    method = registry.method(meta["use"])
    config = parse_config(meta)
    with seeded(0):
        model: nn.Module = method.build(config, network(meta, meta["channels"]), meta["classes"])
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path)
        wrong = next((name for name, value in tensors.items() if not bool(torch.isfinite(value).all())), None)
        if wrong is not None:
            raise RuntimeError(f"{wrong} holds NaN or infinite numbers")
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:2]) or type(error).__name__
        raise ReproodError(
            f"{path} is not a model of {folder / 'model.json'} ({reason}); train the run again."
        ) from error
    return model.to(device).eval(), meta, method, config
