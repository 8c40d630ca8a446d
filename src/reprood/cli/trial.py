"""`reprood check --trial`: a short real training and scoring of every configuration, on random images.

It shows whether a network fits in memory, whether a method runs with the suite's settings and network, and how long a
step takes, before hours are spent. It says nothing about results.

Finished configurations are recorded in logs/trial/<suite>.jsonl, so that the same command resumes.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from reprood.cli.saved_tensors import SavedTensors
from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.engine.device import make_repeatable, resolve_device, resolve_precision
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.training import Training
from reprood.images.augment import normalise
from reprood.methods import registry
from reprood.methods.base import Method
from reprood.pipeline.plan import Plan
from reprood.predict.forward import Stored
from reprood.predict.native import fit_native
from reprood.train.run import network, parse_config

ASSUMED = 10  # classes of a benchmark where only its data show how many there are
SHOWN = 2  # images that are scored
ATTACK_STEPS = 2
FITTED = 4  # training images of a single class that scores are fitted on: models of windows see thousands of each


def phases(config: BaseModel) -> dict[str, Training]:
    """Return the training phases of a method's settings, by name."""
    values = {name: getattr(config, name) for name in type(config).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, Training)}


def shortened(config: Any, batch: int) -> Any:
    """Return a method's settings with one epoch of small batches in every phase, few windows and steps, no weights."""
    short = {"epochs": 1, "batch_size": batch, "warmup_epochs": 0.0, "smallest_batch": 1, "monitor_every": 1}
    changes: dict[str, Any] = {name: phase.model_copy(update=short) for name, phase in phases(config).items()}
    if "epoch_images" in type(config).model_fields:  # an epoch is the training images once
        changes["epoch_images"] = 0
    if getattr(config, "pretrained", False):
        changes["pretrained"] = False
    for steps in ("steps", "monitor_steps"):  # of attacks, which need no more memory for more steps
        if getattr(config, steps, 0) > ATTACK_STEPS:
            changes[steps] = ATTACK_STEPS
    if {"crop", "stride"} <= type(config).model_fields.keys():  # windows side by side: else thousands of an image
        changes["stride"] = config.crop or config.stride
    return config.model_copy(update=changes)


def random_problem(benchmark: Benchmark, record: dict[str, Any], classes: int, images: int) -> Problem:
    """Return random images of a benchmark's shape, with its auxiliary sets and, with noisy labels, trusted rows."""
    size, channels = benchmark.preparation.size, benchmark.preparation.channels
    generator = torch.Generator().manual_seed(0)

    def part(count: int, number: int) -> ImageSet:
        pixels = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)
        return ImageSet(pixels, torch.arange(count) % number)

    validation, test = part(8, classes), part(8, classes)
    trusted = torch.arange(max(images, classes)) < classes
    return Problem(
        train=part(max(images, classes), classes),
        validation=validation,
        auxiliary={name: part(4 * images, 4) for name in benchmark.auxiliary},
        classes=classes,
        channels=channels,
        size=size,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        backbone=lambda: network(record, channels),
        monitor={"validation": validation, "test": test},
        trusted=trusted if benchmark.label_noise is not None and benchmark.label_noise.trusted else None,
    )


def class_count(plan: Plan, name: str) -> int:
    """Return the number of classes of a benchmark, from its own list or the catalogue; 0 if only the data show it."""
    source = plan.benchmark(name).train
    return len(source.classes if source.classes is not None else plan.catalogue[source.dataset].classes)


def native_scores(
    method: Method[Any, Any], model: nn.Module, config: BaseModel, problem: Problem, shown: Tensor, device: torch.device
) -> list[str]:
    """Compute the method's own scores and anomaly maps of a few images; return their names."""
    labels = problem.monitor["test"].labels[: len(shown)].to(device)
    count = FITTED if problem.classes == 1 else len(problem.train.images)

    def training() -> Iterator[tuple[Tensor, Tensor]]:
        images = problem.train.images[:count].to(device)
        yield normalise(images, problem.mean, problem.std), problem.train.labels[:count].to(device)

    with torch.no_grad():
        stored = Stored(model(shown), model.features(shown), lambda: iter([shown]))  # type: ignore[operator]
    native = fit_native(method, model, config, training, stored, labels, "trial")
    maps = native.maps(stored)
    return sorted(native.scores(stored)) + ([] if maps is None else ["anomaly maps"])


def trial(
    settings: Mapping[str, Any], root: Path, device: str = "auto", images: int = 16, batch: int = 8
) -> Iterator[str]:
    """Train every (benchmark, method) of a suite for one epoch of a few random images and score some.

    Configurations of equal settings, network and shapes are tried once, and again only on another device or if their
    code or packages change. A configuration that fails is reported, and the others go on. `settings` is the run
    configuration, with the suite.

    Yields
    ------
    str
        One line per configuration: network, parameters, seconds, memory of the configured batch, names of scores.

    Raises
    ------
    ReproodError
        At the end, if a configuration failed; names them.
    """
    target = resolve_device(device)
    make_repeatable(target, None)
    plan = Plan(settings, root)
    log = root / "logs" / "trial" / f"{Path(plan.results).name}.jsonl"
    finished = _finished(log)
    tried: set[str] = set()
    failed: list[str] = []
    for name, method in dict.fromkeys((b, m) for b, m, _ in plan.jobs):
        if plan.is_external(method):
            continue
        record = json.loads(plan.train_parameters(name, method, 0))
        benchmark, known = plan.benchmark(name), class_count(plan, name)
        what = [
            {part: record[part] for part in ("use", "settings", "backbone", "precision")},
            [benchmark.preparation.model_dump(), known, sorted(benchmark.auxiliary)],
            benchmark.label_noise is not None and benchmark.label_noise.trusted > 0,
            plan.code_of(name, method, plan.train_entry(name)),
            plan.run_environment(name, method),
            [str(target), images, batch],
        ]
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
        if key in tried:
            continue
        tried.add(key)
        if key in finished:
            yield f"{finished[key]} (from {log.relative_to(root)})"
            continue
        try:
            text = f"{name}/{method}: " + _try(plan, name, method, record, known, target, images, batch)
        except Exception as error:  # the others are tried too, and the command fails at the end
            failed.append(f"{name}/{method}")
            reason = str(error) if isinstance(error, ReproodError) else f"{type(error).__name__}: {error}"
            yield f"{name}/{method}: FAILED: {reason}"
            continue
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write("\n" + json.dumps({"key": key, "text": text}))  # on a new line also after an interruption
        yield text
    if failed:
        raise ReproodError(f"{len(failed)} of {len(tried)} configurations failed: {', '.join(failed)}.")
    yield f"All {len(tried)} configurations were tried."


def _finished(log: Path) -> dict[str, str]:
    """Return key -> line of the configurations that were tried before; a line cut off by an interruption is ignored."""
    found = {}
    for line in log.read_text().splitlines() if log.is_file() else []:
        if line.endswith("}"):
            one = json.loads(line)
            found[one["key"]] = one["text"]
    return found


def _try(
    plan: Plan,
    name: str,
    method: str,
    record: dict[str, Any],
    known: int,
    device: torch.device,
    images: int,
    batch: int,
) -> str:
    """Train and score one configuration on random images; return the line to print."""
    classes = known or ASSUMED
    start = time.monotonic()
    trained, full = registry.method(record["use"]), parse_config(record)
    config = shortened(full, batch)
    problem = random_problem(plan.benchmark(name), record, classes, images)
    with tempfile.TemporaryDirectory() as state, SavedTensors() as saved:
        run = Run(
            name=f"{name}/{method}/0",
            root_seed=0,
            state=Path(state),
            device=device,
            precision=resolve_precision(record["precision"], device),
            checkpoint_seconds=1e9,
        )
        model, _ = trained.train(problem, config, run)
    model.to(device).eval()
    shown: Tensor = normalise(problem.monitor["test"].images[:SHOWN].to(device), problem.mean, problem.std)
    names = native_scores(trained, model, config, problem, shown, device)
    with torch.no_grad():
        logits = model(shown)
    if logits.shape != (SHOWN, classes):
        raise AssertionError(f"logits of shape {tuple(logits.shape)}, not ({SHOWN}, {classes})")
    count = sum(parameter.numel() for parameter in model.parameters())
    largest = max((phase.batch_size for phase in phases(full).values()), default=batch)
    # weights, gradients and momentum in float32, and what autograd keeps, which grows with the batch
    gibibytes = (12 * count + saved.peak * largest / batch) / 2**30
    own = f", scores {', '.join(names)}" if names else ""
    own += "" if known else f", {classes} classes assumed (the catalogue lists none)"
    own += ", random instead of ImageNet weights" if getattr(full, "pretrained", False) else ""
    seconds = time.monotonic() - start
    return (
        f"{record['backbone']['name']}, {count:,} parameters, {seconds:.1f} s, a batch of {largest} needs about "
        f"{gibibytes:.1f} GiB{own}"
    )
