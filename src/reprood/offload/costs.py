"""How much work a job is, roughly: only the order of jobs and first guesses of their time depend on it."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprood.core.files import canonical_json, read_json
from reprood.engine.seeds import seeded
from reprood.offload.jobs import Job
from reprood.train.run import network, parse_config

BACKWARD = 3  # a training step is about three forward passes


@cache
def _forward(record: str, channels: int, size: int) -> float:
    """Floating-point operations of one image's forward pass through the backbone of a training record.

    Counted in convolutions and linear layers, by hand: torch's counter imports its compiler, which takes longer than
    everything else here.
    """
    total = 0.0

    def count(module: nn.Module, _: object, outcome: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        total += 2 * weight[0].numel() * outcome.numel()

    with seeded(0):
        model = network(json.loads(record), channels).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, channels, size, size))
    return total


def _epochs(settings: Mapping[str, Any]) -> int:
    """Epochs over all phases."""
    parts = [part for part in settings.values() if isinstance(part, Mapping)]
    return max(1, sum(int(part.get("epochs") or 0) for part in parts))


def cost(job: Job, train_record: str, data: Path) -> float:
    """Floating-point operations, as if a method did nothing but pass its images through its backbone.

    Parameters
    ----------
    job : Job
        A training or a prediction.
    train_record : str
        The settings of the run's training.
    data : Path
        Folder of the benchmark's splits.
    """
    record = json.loads(train_record)
    shapes = {split: read_json(data / split / "meta.json")["shape"] for split in job.data}
    _, size, _, channels = next(iter(shapes.values()))
    keys = ("benchmark", "method", "backbone")
    forward = _forward(canonical_json({key: record[key] for key in keys}), channels, size)
    if job.kind == "train":
        config = parse_config(record).model_dump(mode="json")
        return float(forward * BACKWARD * shapes["train"][0] * _epochs(config))
    return float(forward * sum(shape[0] for shape in shapes.values()))
