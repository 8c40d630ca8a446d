"""Measure the roof of matrix products and how much of it training reaches: one thread, fp32, and bf16 where it is fast.

Run: python benchmarks/roof.py [--repeats N] [--threads N] [--json FILE]

The roof is the fastest of several square products, which all fit the caches differently. Training is one step of SGD
(forward, backward, update) on a batch of random images in channels-last format, without augmentation; its operations
are counted by torch, two for each multiplication and addition of a convolution or a product. What is not counted
(batch normalisation, activations, the update) still takes time, so that no network reaches 100 %.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from measure import machine, options_of, parser_of
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from reprood.engine.device import Precision, autocast, cpu_has_bf16, keep_freed_memory
from reprood.engine.optimizers import SGD
from reprood.engine.seeds import seeded
from reprood.nets import resnet, wrn
from reprood.nets.classifier import Classifier

CPU = torch.device("cpu")
SIDES = (256, 512, 768, 1024, 1536)  # of the matrices
LEAST = 0.3  # CPU-seconds that a measurement lasts at least
CLASSES = 10

NETWORKS: dict[str, tuple[int, int, int, Callable[[int], nn.Module]]] = {  # channels, side, batch
    "WRN-10-1, stem stride 2": (1, 28, 64, lambda channels: wrn.build(channels, depth=10, width=1, stem_stride=2)),
    "WRN-16-2": (3, 32, 64, lambda channels: wrn.build(channels, depth=16, width=2)),
    "WRN-40-2": (3, 32, 32, lambda channels: wrn.build(channels, depth=40, width=2)),
    "ResNet-18": (3, 32, 32, lambda channels: resnet.build(channels, depth=18)),
}


@dataclass(frozen=True)
class Share:
    """Training of one network: images and 10^9 operations per CPU-second, and percent of the roof."""

    network: str
    precision: Precision
    images: float
    gflops: float
    roof_percent: float


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Return the CPU seconds of one call, the least over `repeats` measurements after a warm-up."""
    work()
    best, calls = float("inf"), 1
    done = 0
    while done < repeats:
        started = time.process_time()
        for _ in range(calls):
            work()
        spent = time.process_time() - started
        if spent < LEAST:
            calls *= 2
            continue
        best, done = min(best, spent / calls), done + 1
    return best


def roof(precision: Precision, repeats: int, sides: tuple[int, ...] = SIDES) -> float:
    """Return the most 10^9 operations per CPU-second of a square matrix product."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    best = 0.0
    for side in sides:
        left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
        out = torch.empty_like(left)
        seconds = fastest(lambda left=left, right=right, out=out: torch.mm(left, right, out=out), repeats)
        best = max(best, 2 * side**3 / seconds / 1e9)
    return best


def step_of(network: str, precision: Precision, batch: int | None = None) -> tuple[Callable[[], None], int]:
    """Return a training step of a network, and its number of images."""
    channels, side, usual, build = NETWORKS[network]
    count = batch or usual
    with seeded(0):
        model = Classifier(build(channels), CLASSES).to(memory_format=torch.channels_last).train()
        images = torch.randn(count, channels, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(count) % CLASSES
    optimizer = SGD([{"params": list(model.parameters()), "weight_decay": 5e-4}], momentum=0.9, nesterov=True)

    def step() -> None:
        optimizer.zero_grad()
        with autocast(precision, CPU):
            loss = functional.cross_entropy(model(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(0.001)

    return step, count


def operations(step: Callable[[], None]) -> int:
    """Return the floating-point operations of the convolutions and products of a step, backward pass included."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def share(network: str, precision: Precision, highest: float, repeats: int, batch: int | None = None) -> Share:
    """Measure the training of one network against a roof of `highest` 10^9 operations per CPU-second."""
    step, images = step_of(network, precision, batch)
    count = operations(step)
    seconds = fastest(step, repeats)
    gflops = count / seconds / 1e9
    return Share(network, precision, images / seconds, gflops, 100 * gflops / highest)


def main() -> None:
    options = options_of(parser_of(__doc__ or "", repeats=3))
    keep_freed_memory()  # as a training does
    precisions: list[Precision] = ["fp32", "bf16"] if cpu_has_bf16() else ["fp32"]
    print(f"\n{machine()}\n")
    roofs = {precision: roof(precision, options.repeats) for precision in precisions}
    print(", ".join(f"matrix products in {name}: {value:.0f} GFLOP/s" for name, value in roofs.items()), "\n")
    print("| network | precision | images per CPU-second | GFLOP/s | share of the roof, % |\n|---|---|---:|---:|---:|")
    rows = []
    for network in NETWORKS:
        for precision, highest in roofs.items():
            row = share(network, precision, highest, options.repeats)
            rows.append(row)
            print(f"| {network} | {precision} | {row.images:,.0f} | {row.gflops:.1f} | {row.roof_percent:.0f} |")
    if options.json is not None:
        content = {"machine": machine(), "roofs": roofs, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
