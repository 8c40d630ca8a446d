"""What a study is: what it is context, what it returns, and its record.

A study analyses a paper in a way that is not a benchmark: a toy problem, a mechanism, a timing. It is one module,
`reprood/studies/<name>.py`, that ends with `STUDY = Study(name=..., config=Config, measure=measure)`. Its numbers are
tidy rows with a seed, so that claims can be judged on them; its arrays are for the figure, which
`reprood/report/studies/<name>.py` draws without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypedDict, TypeVar

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.device import resolve_precision
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import derive_seed

C = TypeVar("C", bound=BaseModel)
C_contra = TypeVar("C_contra", bound=BaseModel, contravariant=True)


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
        The numbers, one per seed, arm and metric.
    arrays : mapping
        Small arrays for the figure.
    """

    rows: Sequence[Row]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Inputs of a study.

    Attributes
    ----------
    name : str
        The study's name in the suite.
    seeds : tuple of int
        One replicate each.
    device : torch.device
        Where to compute.
    problems : mapping
        Seed -> data of the benchmark that the suite names; on a family, of the replicate's own member.
    models : dict
        Method (row of the tables) -> seed -> trained model in evaluation mode.
    configs : dict
        Method -> its settings.
    suite_seed : int
    state : Path
        Resume folder for trainings inside a study.
    outliers : mapping
        Seed -> OOD set -> its images, for a study that asks for them.
    records : mapping
        Method (row of the tables) -> seed -> the trained model's model.json (channels, size, classes, mean, std, ...).
    """

    name: str
    seeds: tuple[int, ...]
    device: torch.device
    problems: Mapping[int, Problem] = field(default_factory=dict)
    models: dict[str, dict[int, nn.Module]] = field(default_factory=dict)
    configs: dict[str, BaseModel] = field(default_factory=dict)
    suite_seed: int = 0
    state: Path = Path("state/study")
    outliers: Mapping[int, Mapping[str, ImageSet]] = field(default_factory=dict)
    records: Mapping[str, Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)

    def run(self, seed: int, *, precision: str = "fp32") -> Run:
        """Return seeds, device and a resume folder for a training of one replicate."""
        return Run(
            name=f"study/{self.name}/{seed}",
            root_seed=derive_seed(self.suite_seed, f"study/{self.name}", seed),
            state=self.state / str(seed),
            device=self.device,
            precision=resolve_precision(precision, self.device),
        )

    def generator(self, seed: int, *stream: int | str, device: str | torch.device = "cpu") -> torch.Generator:
        """Return a new generator at the start of a named stream of one replicate."""
        return self.run(seed).generator(*stream, device=device)

    def problem(self, seed: int) -> Problem:
        """Return the data of a replicate.

        Raises
        ------
        ReproodError
            If the suite names no benchmark for the study.
        """
        if seed not in self.problems:
            raise ReproodError(f"The study {self.name} needs data; set its 'benchmark' in the suite.")
        return self.problems[seed]

    def models_of(self, method: str) -> dict[int, nn.Module]:
        """Return the models of a method by seed.

        Raises
        ------
        ReproodError
            If the suite does not give the study this method.
        """
        if method not in self.models:
            raise ReproodError(f"The study {self.name} needs trained models of '{method}'; add it to its 'methods'.")
        return self.models[method]


class Measure(Protocol[C_contra]):
    """`measure(config, context)`."""

    def __call__(self, config: C_contra, context: Context, /) -> Findings:
        """Carry out the study for every seed of `context`."""


@dataclass(frozen=True, kw_only=True)
class Study(Generic[C]):
    """A study.

    Attributes
    ----------
    name : str
        Name of the module's file, which a suite `use`s.
    config : type of pydantic model
        The settings, frozen.
    measure : callable
        See `Measure`.
    """

    name: str
    config: type[C]
    measure: Measure[C]
