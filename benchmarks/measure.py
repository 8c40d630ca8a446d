"""Share among the benchmarks: CPU time including child processes, alternating repeats, medians, a table."""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


def cpu_seconds() -> float:
    """Return user and system time of this process and of all ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass(frozen=True)
class Row:
    """One way to do a task: images per CPU-second, and how many times the first way of its task."""

    task: str
    way: str
    images_per_cpu_second: float
    lowest: float
    highest: float
    ratio: float


def compare(task: str, ways: dict[str, Callable[[], int]], repeats: int) -> list[Row]:
    """Run every way in turn, `repeats` times after one warm-up, and compare each with the first.

    Each way does its whole work when called and returns how many images it made or trained on. Taking turns
    exposes all ways to the same state of the machine; the ratio is the median of the ratios within a turn.
    """
    for way in ways.values():
        way()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = cpu_seconds()
            count = way()
            speeds[name].append(count / (cpu_seconds() - started))
    first = speeds[next(iter(ways))]
    return [
        Row(
            task=task,
            way=name,
            images_per_cpu_second=statistics.median(values),
            lowest=min(values),
            highest=max(values),
            ratio=statistics.median(value / base for value, base in zip(values, first, strict=True)),
        )
        for name, values in speeds.items()
    ]


def parser_of(description: str, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: --repeats, --threads, --json."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"turns after the warm-up (default {repeats})")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser


def options_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line and pin the threads."""
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def arguments(description: str, repeats: int) -> argparse.Namespace:
    """Parse the command line of a benchmark without its own options."""
    return options_of(parser_of(description, repeats))


def machine() -> str:
    """Describe processor architecture, cores, bf16 instructions and versions, without names or addresses."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split() if Path("/proc/cpuinfo").exists() else []
    bf16 = "AMX bf16" if "amx_bf16" in flags else "AVX-512 bf16" if "avx512_bf16" in flags else "no bf16 instructions"
    return (
        f"{os.cpu_count()}-core {platform.machine()}, {bf16}, torch {torch.__version__.split('+')[0]}, "
        f"{torch.get_num_threads()} thread(s)"
    )


def show(rows: Sequence[Row], json_file: Path | None, unit: str = "images") -> None:
    """Print the rows as a Markdown table; with `--json` also write them with a description of the machine."""
    print(f"\n{machine()}\n")
    print(f"| task | way | {unit} per CPU-second | lowest - highest | ratio |")
    print("|---|---|---:|---:|---:|")
    for row in rows:
        spread = f"{row.lowest:,.0f} - {row.highest:,.0f}"
        print(f"| {row.task} | {row.way} | {row.images_per_cpu_second:,.0f} | {spread} | {row.ratio:.2f} |")
    if json_file is not None:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
