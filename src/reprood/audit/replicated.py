"""Evidence whose replicates are not only training seeds: families of benchmarks, and studies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reprood.audit.evidence import BenchmarkEvidence, Part
from reprood.audit.papers import Claim
from reprood.config.records import plain_line
from reprood.core.errors import ReproodError
from reprood.evaluate.resample import Replicates


class FamilyEvidence:
    """Benchmarks of one family (one class each, or one split of classes each): every (member, seed) is a replicate.

    Sides are paired by member, because members differ in difficulty far more than seeds do.

    Parameters
    ----------
    name : str
        The family.
    members : sequence of BenchmarkEvidence
    """

    def __init__(self, name: str, members: Sequence[BenchmarkEvidence]) -> None:
        self.name, self.parts = name, tuple(members)
        common = set.intersection(*(set(member.seeds) for member in members))
        self.seeds: dict[str, tuple[str, ...]] = {
            method: tuple(f"{member.name}/{seed}" for member in members for seed in member.seeds[method])
            for method in members[0].seeds
            if method in common
        }

    def measures(self, claim: Claim) -> bool:
        """Every member measures it."""
        return all(member.measures(claim) for member in self.parts)

    def obstacle(self, claim: Claim, parts: Sequence[Part]) -> str:
        """The first member's that has one."""
        found = [(member.name, member.obstacle(claim, parts)) for member in self.parts]
        return next((f"{name}: {text}" for name, text in found if text), "")

    def training(self, part: Part) -> str:
        """All sides are paired."""
        return self.name

    def epochs(self, method: str) -> int | None:
        """The smallest number among the members."""
        found = [epochs for epochs in (member.epochs(method) for member in self.parts) if epochs is not None]
        return min(found, default=None)

    def elsewhere(self, claim: Claim, parts: Sequence[Part]) -> str:
        """The first member's that has one."""
        return next((text for text in (member.elsewhere(claim, parts) for member in self.parts) if text), "")

    def replicates(self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator) -> Replicates:
        """Those of all members side by side; each has test samples of its own, resampled by themselves."""
        found = [member.replicates(claim, parts, generator) for member in self.parts]
        sides = range(len(parts))
        return Replicates(
            [np.concatenate([one.observed[i] for one in found]) for i in sides],
            [np.concatenate([one.resampled[i] for one in found], axis=1) for i in sides],
            sum(one.n_id for one in found),
            sum(one.n_ood for one in found),
        )


class StudyEvidence:
    """The numbers of a study; its seeds are the replicates, and its arms are paired by seed.

    Parameters
    ----------
    name, use : str
        In the suite; the module.
    values : Path
        values.csv of the study.
    """

    def __init__(self, name: str, use: str, values: Path) -> None:
        self.name, self.use, self.values = name, use, values
        self.table = read_study(values)
        self.seeds: dict[str, tuple[int, ...]] = {
            str(arm): tuple(int(seed) for seed in rows["seed"].unique())
            for arm, rows in self.table.groupby("arm", sort=False)
        }

    def measures(self, claim: Claim) -> bool:
        """The claim is about this study and names a metric of it."""
        return claim.study == self.use and bool((self.table["metric"] == claim.metric).any())

    def obstacle(self, claim: Claim, parts: Sequence[Part]) -> str:
        """An arm without the metric."""
        lacking = [part.method for part in parts if not len(self._numbers(part.method, claim.metric))]
        return f"the study has no {claim.metric} of {', '.join(lacking)}" if lacking else ""

    def training(self, part: Part) -> str:
        """All arms are paired."""
        return self.name

    def epochs(self, method: str) -> int | None:
        """A study has no schedule of its own to be judged by."""
        return None

    def elsewhere(self, claim: Claim, parts: Sequence[Part]) -> str:
        """A study is its own setting."""
        return ""

    def _numbers(self, arm: str, metric: str) -> pd.Series:
        rows = self.table[(self.table["arm"] == arm) & (self.table["metric"] == metric)]
        return rows.set_index("seed")["value"].sort_index()

    def replicates(self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator) -> Replicates:
        """The numbers as they are: a study has no test samples to resample."""
        numbers = [self._numbers(part.method, claim.metric) for part in parts]
        if any(list(n.index) != list(numbers[0].index) for n in numbers):
            raise ReproodError(f"{self.values}: the arms of {claim.id} have different seeds; run the study again.")
        observed = [n.to_numpy(dtype=np.float64) for n in numbers]
        return Replicates(observed, [np.tile(values, (2, 1)) for values in observed], 0, 0)


def read_study(path: Path) -> pd.DataFrame:
    """The rows of a study: study, arm, seed, metric, value.

    Raises
    ------
    ReproodError
        When the file is missing or is not one of a study.
    """
    columns = ["study", "arm", "seed", "metric", "value"]
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=str)[columns]
        table = table.astype({"seed": "int64", "value": "float64"})
    except FileNotFoundError as error:
        raise ReproodError(f"{path} does not exist; run the study first.") from error
    except (KeyError, ValueError, TypeError, OverflowError, pd.errors.ParserError) as error:
        raise ReproodError(f"{path} is not a table of a study ({error}); run the study again.") from error
    if not np.isfinite(table["value"]).all():
        raise ReproodError(f"{path} holds a value that is not finite; run the study again.")
    for name in ("study", "arm", "metric"):
        for cell in table[name].unique():
            try:
                plain_line(cell)
            except ValueError as error:
                raise ReproodError(f"{path}: {name} {cell[:40]!r}: {error}; run the study again.") from error
    return table
