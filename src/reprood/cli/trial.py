"""`reprood check --trial`: a short real training and scoring of every configuration, on random images.

It shows whether a network fits in memory, whether a method runs with the suite's settings and network, and how long a
step takes, before hours are spent. It says nothing about results.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from reprood.config.benchmark import Benchmark
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


def shortened(config: BaseModel, batch: int) -> Any:
    """Return a method's settings with one epoch of small batches in every phase."""
    changes: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Training):
            short = {"epochs": 1, "batch_size": batch, "warmup_epochs": 0.0, "smallest_batch": 1, "monitor_every": 1}
            changes[name] = value.model_copy(update=short)
    if "epoch_images" in type(config).model_fields:  # an epoch is the training images once
        changes["epoch_images"] = 0
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

    def training() -> Iterator[tuple[Tensor, Tensor]]:
        images = problem.train.images.to(device)
        yield normalise(images, problem.mean, problem.std), problem.train.labels.to(device)

    with torch.no_grad():
        stored = Stored(model(shown), model.features(shown), lambda: iter([shown]))  # type: ignore[operator]
    native = fit_native(method, model, config, training, stored, labels, "trial")
    maps = native.maps(stored)
    return sorted(native.scores(stored)) + ([] if maps is None else ["anomaly maps"])


def trial(
    settings: Mapping[str, Any], root: Path, device: str = "auto", images: int = 16, batch: int = 8
) -> Iterator[str]:
    """Train every (benchmark, method) of a suite for one epoch of a few random images and score some.

    Configurations of equal settings, network and shapes are tried once. `settings` is the run configuration, with the
    suite.

    Yields
    ------
    str
        One line per configuration: network, parameters, seconds, names of scores.

    Raises
    ------
    ReproodError
        For settings that a method or network rejects.
    """
    target = resolve_device(device)
    make_repeatable(target, None)
    plan = Plan(settings, root)
    tried: set[str] = set()
    for name, method in dict.fromkeys((b, m) for b, m, _ in plan.jobs):
        if plan.is_external(method):
            continue
        record = json.loads(plan.train_parameters(name, method, 0))
        benchmark, known = plan.benchmark(name), class_count(plan, name)
        classes = known or ASSUMED
        shape = [benchmark.preparation.model_dump(), classes, sorted(benchmark.auxiliary)]
        key = json.dumps([record["use"], record["settings"], record["backbone"], shape], sort_keys=True)
        if key in tried:
            continue
        tried.add(key)
        start = time.monotonic()
        trained, config = registry.method(record["use"]), shortened(parse_config(record), batch)
        problem = random_problem(benchmark, record, classes, images)
        with tempfile.TemporaryDirectory() as state:
            run = Run(
                name=f"{name}/{method}/0",
                root_seed=0,
                state=Path(state),
                device=target,
                precision=resolve_precision(record["precision"], target),
                checkpoint_seconds=1e9,
            )
            model, _ = trained.train(problem, config, run)
        model.to(target).eval()
        shown: Tensor = normalise(problem.monitor["test"].images[:4].to(target), problem.mean, problem.std)
        names = native_scores(trained, model, config, problem, shown, target)
        with torch.no_grad():
            logits = model(shown)
        if logits.shape != (4, classes):
            raise AssertionError(f"{name}/{method}: logits of shape {tuple(logits.shape)}, not (4, {classes})")
        count = sum(parameter.numel() for parameter in model.parameters())
        own = f", scores {', '.join(names)}" if names else ""
        own += "" if known else f", {classes} classes assumed (the catalogue lists none)"
        seconds = time.monotonic() - start
        yield f"{name}/{method}: {record['backbone']['name']}, {count:,} parameters, {seconds:.1f} s{own}"
