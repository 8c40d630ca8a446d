"""Studies: analyses of a paper that are not a benchmark (a toy problem, a mechanism, a timing).

Part of the predict stage. A study is one file, `reprood/studies/<use>.py`, with a `Config` and
`measure(config, given) -> Findings`. Its numbers are tidy rows with a seed, so that claims can be judged on them; its
arrays are for the figure that `reprood/report/studies/<use>.py` draws without torch.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path
from reprood.data.arrays import write_npz
from reprood.engine.device import make_repeatable, resolve_device, resolve_precision
from reprood.engine.problem import Problem, load_problem
from reprood.engine.run import Run
from reprood.engine.seeds import derive_seed
from reprood.engine.settings import read_settings
from reprood.methods import registry
from reprood.train.run import load_model, network

COLUMNS = ("study", "arm", "seed", "metric", "value")


class Row(TypedDict):
    """One number of a study."""

    seed: int
    arm: str
    metric: str
    value: float


@dataclass(frozen=True)
class Findings:
    """What a study measured.

    Attributes
    ----------
    rows : sequence of Row
        The numbers, one each seed, arm and metric.
    arrays : mapping
        Small arrays for the figure.
    """

    rows: Sequence[Row]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """What a study is given.

    Attributes
    ----------
    name : str
        The study's name in the suite.
    seeds : tuple of int
        One replicate each.
    device : torch.device
        Where to compute.
    problem : Problem or None
        The data of the benchmark that the suite names.
    models : dict
        Method (row of the tables) -> seed -> trained model in evaluation mode.
    configs : dict
        Method -> its `Config`.
    suite_seed : int
    state : Path
        For trainings inside a study.
    """

    name: str
    seeds: tuple[int, ...]
    device: torch.device
    problem: Problem | None = None
    models: dict[str, dict[int, nn.Module]] = field(default_factory=dict)
    configs: dict[str, BaseModel] = field(default_factory=dict)
    suite_seed: int = 0
    state: Path = Path("state/study")

    def run(self, seed: int, *, precision: str = "fp32") -> Run:
        """Seeds, device and a resume folder for a training of one replicate."""
        return Run(
            name=f"study/{self.name}/{seed}",
            root_seed=derive_seed(self.suite_seed, "study", self.name, seed),
            state=self.state / str(seed),
            device=self.device,
            precision=resolve_precision(precision, self.device),
        )

    def generator(self, seed: int, *stream: int | str, device: str | torch.device = "cpu") -> torch.Generator:
        """A new generator at the start of a named stream of one replicate."""
        return self.run(seed).generator(*stream, device=device)

    def need(self) -> Problem:
        """The problem.

        Raises
        ------
        ReproodError
            When the suite names no benchmark for the study.
        """
        if self.problem is None:
            raise ReproodError(f"The study {self.name} needs data; name a 'benchmark' for it in the suite.")
        return self.problem

    def trained(self, method: str) -> dict[int, nn.Module]:
        """The models of a method by seed.

        Raises
        ------
        ReproodError
            When the suite gives the study no such method.
        """
        if method not in self.models:
            raise ReproodError(f"The study {self.name} needs trained models of '{method}'; add it to its 'methods'.")
        return self.models[method]


def run_study(
    settings: Mapping[str, Any],
    *,
    data: Path,
    runs: Path,
    out: Path,
    state: Path,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Carry out a study and write `values.csv` and `arrays.npz`.

    Parameters
    ----------
    settings : mapping
        name, use, set, seeds, suite_seed, benchmark ("" for none), methods (rows whose models are given), auxiliary.
    data : Path
        Folder of the benchmarks' splits.
    runs : Path
        Folder of the runs.
    out : Path
        Folder of the study's results.
    state : Path
        For trainings inside the study.
    device : {"auto", "cpu", "cuda"}
    threads : int or None

    Raises
    ------
    ReproodError
        For wrong settings, missing files, or a number that is not finite.
    """
    where = resolve_device(device)
    make_repeatable(where, threads)
    module = registry.study(settings["use"])
    config = read_settings(module.Config, settings["set"], f"study {settings['name']}")
    name, benchmark, seeds = settings["name"], settings["benchmark"], tuple(settings["seeds"])
    problem, models, configs = None, {}, {}
    if benchmark:
        auxiliary = tuple(settings["auxiliary"])
        folders = {split: data / benchmark / split for split in ("train", "validation", "test", *auxiliary)}
        record = {"benchmark": benchmark, "method": name, "backbone": settings["backbone"]}
        problem = load_problem(folders, lambda channels: network(record, channels), where, auxiliary=auxiliary)
        for method in settings["methods"]:
            loaded = {seed: load_model(runs / benchmark / method / str(seed), where) for seed in seeds}
            models[method] = {seed: model for seed, (model, *_) in loaded.items()}
            configs[method] = next(iter(loaded.values()))[3]
    given = Given(name, seeds, where, problem, models, configs, settings["suite_seed"], state)
    write_findings(name, module.measure(config, given), out)


def write_findings(name: str, found: Findings, out: Path) -> None:
    """`values.csv` (study, arm, seed, metric, value) and `arrays.npz`; the same findings give the same bytes."""
    for row in found.rows:
        if not np.isfinite(row["value"]):
            raise ReproodError(
                f"Study {name}: {row['metric']} of {row['arm']}, seed {row['seed']}, is {row['value']}; "
                "a study's numbers must be finite."
            )
    with atomic_path(out / "arrays.npz") as temporary:
        write_npz(temporary, dict(found.arrays))
    with atomic_path(out / "values.csv") as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({"study": name, **row} for row in found.rows)
