"""Stage `train`: hand a benchmark's problem to a method, run it, store the model whole.

Writes model.safetensors, model.json (all that is needed to rebuild the network), history.csv and run.json.
"""

import csv
import hashlib
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import nn

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, file_lock, read_json, sha256_file, write_json
from reprood.core.yaml import explain
from reprood.engine.device import device_name, make_repeatable, resolve_device
from reprood.engine.machine import machine
from reprood.engine.precision import resolve_precision
from reprood.engine.problem import Problem, load_problem
from reprood.engine.run import Run
from reprood.engine.seeds import derive_seed, seeded
from reprood.engine.settings import read_settings
from reprood.methods import registry

RECORD = ("benchmark", "method", "seed", "suite_seed", "use", "settings", "backbone", "precision")
LARGEST_OPTION = 4096  # of a network: no depth, width or stride is larger
HISTORY = ("phase", "epoch", "lr", "train_loss")


def parse_config(record: Mapping[str, Any]) -> Any:
    """The method's `Config`: its paper's values with the record's settings over them.

    Raises
    ------
    ReproodError
        For an unknown or impossible setting; names the run and the key.
    """
    form: type[BaseModel] = registry.method(record["use"]).Config
    return read_settings(form, record["settings"], f"{record['benchmark']}/{record['method']}")


def network(record: Mapping[str, Any], channels: int) -> nn.Module:
    """An untrained backbone as the record says; call it inside `seeded`.

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
    build = registry.backbone(str(options.pop("name", "")))
    try:
        return build(channels, **options)
    except (TypeError, RuntimeError, MemoryError) as error:  # the last two: more memory than there is
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReproodError(
            f"{record['benchmark']}/{record['method']}: backbone {record['backbone']}: {reason}; correct the options."
        ) from error


def train_run(
    settings: Mapping[str, Any],
    *,
    data: Path,
    out: Path,
    state: Path,
    heartbeat: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_seconds: float = 60.0,
    code: str = "",
) -> None:
    """Train one run and write its four files; one that was killed goes on where its last checkpoint was.

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
    heartbeat : Path or None
        File that tells how far the training is; removed at the end.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    threads : int or None
        CPU threads; the same number gives the same bits.
    checkpoint_seconds : float
        Seconds between two checkpoints: what a killed training may lose.
    code : str
        Fingerprint of the code; it is recorded.

    Raises
    ------
    ReproodError
        For wrong settings or data, a missing device, a diverging loss, a full disk, or another process that is
        training the same run.
    """
    missing = [key for key in RECORD if key not in settings]
    if missing:
        raise ReproodError(f"The settings of a training lack {', '.join(missing)}; copy them from `snakemake -n -p`.")
    name = f"{settings['benchmark']}/{settings['method']}/{settings['seed']}"
    where = resolve_device(device)
    make_repeatable(where, threads)
    config = parse_config(settings)
    busy = f"Another process is training {name} (it holds {state / 'lock'}); wait for it or stop it."
    with file_lock(state / "lock", wait=False, busy=busy):
        auxiliary = tuple(settings.get("auxiliary", ()))
        folders = {split: data / split for split in ("train", "validation", "test", *auxiliary)}
        problem = load_problem(folders, lambda channels: network(settings, channels), where, auxiliary=auxiliary)
        facts = _facts(settings, folders, where)
        run = Run(
            name=name,
            root_seed=derive_seed(
                settings["suite_seed"], settings["benchmark"], settings["method"], int(settings["seed"])
            ),
            state=state,
            heartbeat=heartbeat,
            device=where,
            precision=facts["precision"],
            checkpoint_seconds=checkpoint_seconds,
            channels_last=facts["channels_last"],
            compile=facts["compile"],
            key=hashlib.sha256(canonical_json([settings, facts]).encode()).hexdigest(),
        )
        try:
            model, history = registry.method(settings["use"]).train(problem, config, run)
            _write(out, model, history, settings, config, problem, folders["train"])
            told = {"code": code, "machine": machine(), "model": sha256_file(out / "model.safetensors")}
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            record = {**facts, **told, "root_seed": run.root_seed, "phases": run.log, "finished": finished}
            write_json(out / "run.json", record)
        finally:
            if heartbeat is not None:
                heartbeat.unlink(missing_ok=True)
        for path in state.iterdir():
            path.unlink()
        state.rmdir()


def _facts(settings: Mapping[str, Any], folders: Mapping[str, Path], device: torch.device) -> dict[str, Any]:
    """What the bits of the result depend on besides code and settings."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("numpy", "torch", "safetensors")},
        },
        "device": device_name(device),
        "threads": torch.get_num_threads(),
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
    """What model.json must hold for the network to be built again and used; more may stand in it."""

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
    def _one_a_channel(self) -> "ModelRecord":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("mean and std must hold one number a channel")
        return self


def load_model(folder: Path, device: torch.device | str) -> tuple[nn.Module, dict[str, Any], ModuleType, Any]:
    """A trained run's model in evaluation mode.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    device : torch.device or str
        Where the model is to live.

    Returns
    -------
    model, meta, module, config
        `meta` is model.json (channels, size, classes, mean, std, ...), `module` the method's module, `config` its
        `Config`.

    Raises
    ------
    ReproodError
        When files are missing or do not fit together.
    """
    meta: dict[str, Any] = read_json(folder / "model.json")
    try:
        ModelRecord.model_validate(meta)
    except ValidationError as error:
        raise explain(error, str(folder / "model.json")) from error
    module = registry.method(meta["use"])
    config = parse_config(meta)
    with seeded(0):
        model: nn.Module = module.build(config, network(meta, meta["channels"]), meta["classes"])
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
    return model.to(device).eval(), meta, module, config
