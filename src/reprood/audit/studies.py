"""The evidence of a study: its stored numbers, whose seeds are the replicates."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reprood.audit.claims import Claim
from reprood.audit.papers import Paper
from reprood.audit.parts import Part
from reprood.audit.settings import Difference
from reprood.config.records import plain_line
from reprood.core.errors import ReproodError
from reprood.evaluate.resample import Replicates


class StudyEvidence:
    """The numbers of a study; its seeds are the replicates, and its arms are paired by seed.

    Parameters
    ----------
    name, use : str
        Name in the suite; name of the module.
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
        """Return whether the claim is about this study and names one of its metrics."""
        return claim.study == self.use and bool((self.table["metric"] == claim.metric).any())

    def obstacle(self, claim: Claim, parts: Sequence[Part], seeds: Sequence[int], label: Callable[[str], str]) -> str:
        """Return the arms without the metric; empty if there are none."""
        missing = [part.method for part in parts if not len(self._numbers(part.method, claim.metric))]
        return f"there is no {claim.metric} for {', '.join(missing)}" if missing else ""

    def pairing(self, claim: Claim, part: Part) -> str:
        """Return the study: all arms are paired."""
        return self.name

    def regime(self, claim: Claim, part: Part, seeds: Sequence[int]) -> None:
        """Return None: an arm of a study is no baseline."""
        return

    def steps(self, method: str) -> int | None:
        """Return None: a study has no training schedule."""
        return None

    def on_split(self, claim: Claim) -> Claim:
        """Return the claim: a study has no OOD sets."""
        return claim

    def differences(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return nothing: a study is its own setting."""
        return []

    def from_numbers(self, claim: Claim, paper: Paper, parts: Sequence[Part]) -> list[Difference]:
        """Return that settings of studies are not compared, if the claim has published numbers."""
        text = "the settings of studies are not compared with published ones"
        return [Difference("unknown", text)] if claim.published else []

    def _numbers(self, arm: str, metric: str) -> pd.Series:
        rows = self.table[(self.table["arm"] == arm) & (self.table["metric"] == metric)]
        return rows.set_index("seed")["value"].sort_index()

    def replicates(
        self, claim: Claim, parts: Sequence[Part], generator: np.random.Generator, seeds: Sequence[int]
    ) -> Replicates:
        """Return the numbers of each side; a study has no test samples to resample."""
        numbers = [self._numbers(part.method, claim.metric) for part in parts]
        if any(list(n.index) != list(numbers[0].index) for n in numbers):
            raise ReproodError(f"{self.values}: the arms of {claim.id} have different seeds; run the study again.")
        observed = [n.loc[list(seeds)].to_numpy(dtype=np.float64) for n in numbers]
        return Replicates(observed, [np.tile(values, (2, 1)) for values in observed], 0, 0)


def read_study(path: Path) -> pd.DataFrame:
    """Read the rows of a study: study, arm, seed, metric, value.

    Raises
    ------
    ReproodError
        If the file is missing or not a table of a study.
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
