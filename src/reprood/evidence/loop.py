"""`reprood evidence`: run replicates, judge, choose the next ones, until the time or the open claims end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.audit.papers import Paper, load_papers
from reprood.config.looks import Looks
from reprood.core.errors import ReproodError
from reprood.core.files import write_json
from reprood.evidence import snakemake
from reprood.evidence.choose import Arm, Look, choose, cost, raised
from reprood.evidence.claims import next_looks, outcomes, planned, replicates
from reprood.evidence.costs import cpu_seconds
from reprood.pipeline.plan import Plan

HOUR = 3600.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """What may be used.

    Attributes
    ----------
    hours : float
    cores : int
        Jobs at a time.
    """

    hours: float
    cores: int


@dataclass(frozen=True)
class State:
    """A suite between two batches: its plan, its verdicts (None before the first), and what a replicate costs."""

    plan: Plan
    root: Path
    papers: Sequence[Paper]
    table: pd.DataFrame | None

    @classmethod
    def read(cls, config: Mapping[str, Any], root: Path) -> "State":
        """Read the state of a checkout.

        Raises
        ------
        ReproodError
            When the suite has no looks, or the replicates are selected.
        """
        plan = Plan(config, root)
        if plan.settings.fixes_seeds:
            raise ReproodError(
                f"--config {plan.suite.selection}: `reprood evidence` chooses the replicates itself; leave seeds out."
            )
        if plan.suite.evidence is None:
            raise ReproodError(
                f"The suite '{plan.name}' has no `evidence:` with looks, so it is judged once, on all its seeds; run "
                f"`snakemake --cores all --config suite={plan.settings.suite}`."
            )
        path = root / plan.results / "verdicts.csv"
        table = pd.read_csv(path, keep_default_na=True) if path.is_file() else None
        return cls(plan, root, load_papers(root / name for name in plan.papers()), table)

    @property
    def looks(self) -> Looks:
        """Return the suite's looks."""
        assert self.plan.suite.evidence is not None
        return self.plan.suite.evidence

    @property
    def have(self) -> dict[Arm, int]:
        """Return arm -> planned replicates."""
        return replicates(self.plan.suite)

    @property
    def seconds(self) -> dict[Arm, float]:
        """Return arm -> CPU-seconds of a replicate."""
        return cpu_seconds(self.plan, self.root, self.have)

    def missing(self) -> list[tuple[str, str, int]]:
        """Return the planned runs without predictions."""
        file = self.plan.run_file
        return [job for job in self.plan.jobs if not (self.root / file(*job, "predictions.parquet")).is_file()]

    def next_looks(self) -> list[Look]:
        """Return the next look of every open claim."""
        return [] if self.table is None else next_looks(self.table, self.papers, self.plan.suite, self.looks)

    def plan_looks(self, chosen: Sequence[Look]) -> None:
        """Write the numbers of replicates that some looks need."""
        needed = raised(self.have, chosen)
        numbers = planned({arm: needed[arm] for look in chosen for arm in look.arms}, self.plan.planned)
        write_json(self.root / self.plan.results / "replicates.json", numbers)


def spend(
    config: Mapping[str, Any], root: Path, options: Sequence[str], budget: Budget, *, report: bool, say: Say
) -> None:
    """Run the planned replicates, judge, plan the most useful next ones, and repeat.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration.
    root : Path
        The checkout.
    options : sequence of str
        Options for every call of Snakemake.
    budget : Budget
        Without hours, only the plan is shown.
    report : bool
        Write the pages at the end; their time is not counted.
    say : callable
        Called with each line of progress.

    Raises
    ------
    ReproodError
        When the suite has no looks, a job fails, or the call is interrupted.
    """
    end = time.monotonic() + budget.hours * HOUR
    state = State.read(config, root)
    if budget.hours <= 0:
        _show_plan(state, say)
        return
    log = root / "logs" / state.plan.results / "evidence.log"
    while True:
        verdicts = f"{state.plan.results}/verdicts.csv"
        expected = _say_missing(state, say) / budget.cores
        begin, before = time.monotonic(), state.table
        if not snakemake.run(root, [verdicts], options, log, until=end, progress=_counter(state, say)):
            say(f"The time is over; {len(state.missing())} planned runs are missing. The same command goes on.")
            return
        state = State.read(config, root)
        used = time.monotonic() - begin
        _say_changes(before, state.table, used, say)
        # a batch also evaluates and judges: that much is kept for the next one
        most = (end - time.monotonic() - max(0.0, used - expected)) * budget.cores
        looks, have, seconds = state.next_looks(), state.have, state.seconds
        chosen = choose(have, looks, seconds, most=most)
        if not chosen:
            least = min((cost(have, [look], seconds) for look in looks), default=0.0)
            left = f"{max(most, 0.0) / budget.cores / HOUR:.2f} h are left for it"
            say(f"The cheapest next look needs {_hours(least, budget)}, and {left}." if looks else "No claim is open.")
            break
        say(
            f"Next, {_hours(cost(have, chosen, seconds), budget)} of {most / budget.cores / HOUR:.2f} h: "
            + ", ".join(f"{look.claim} (look {look.number}, {look.value:.0%})" for look in chosen)
        )
        state.plan_looks(chosen)
        state = State.read(config, root)
    _say_outcomes(state, say)
    if report:
        say("Writing the pages (not counted in the time).")
        snakemake.run(root, [], options, log)
        say(f"{state.plan.reports}/index.html")


def _hours(cpu: float, budget: Budget) -> str:
    return f"about {cpu / budget.cores / HOUR:.2f} h"


def _say_missing(state: State, say: Say) -> float:
    """Say how many planned runs are missing, and return the CPU-seconds that they need."""
    missing, seconds, records = state.missing(), state.seconds, state.plan.suite.benchmarks
    total = sum(seconds[records[name].family or name, method] for name, method, _ in missing)
    if missing:
        say(f"{len(missing)} of {len(state.plan.jobs)} planned runs are missing: about {total:,.0f} CPU-s.")
    return total


def _counter(state: State, say: Say) -> Callable[[], None]:
    """Return a function that says how many of the missing runs have been finished."""
    of = len(state.missing())
    return lambda: say(f"  {of - len(state.missing())} of {of} runs done")


def _say_changes(before: pd.DataFrame | None, table: pd.DataFrame | None, seconds: float, say: Say) -> None:
    assert table is not None
    known = {} if before is None else {(one["paper"], one["claim"]): one["verdict"] for one in _main(before)}
    for row in _main(table):
        old = known.get((row["paper"], row["claim"]), "not run")
        if row["verdict"] != old:
            say(f"  {row['paper']}/{row['claim']}: {row['verdict']} (was: {old})")
    text = ", ".join(f"{count} {name}" for name, count in outcomes(table).items())
    say(f"Judged after {seconds:,.0f} s. Main claims: {text}.")


def _main(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table[~table["exploratory"].astype(bool)].to_dict("records")


def _say_outcomes(state: State, say: Say) -> None:
    assert state.table is not None
    say(f"{'main claims':<40}{'number':>8}")
    for name, count in outcomes(state.table).items():
        say(f"{name:<40}{count:>8}")


def _show_plan(state: State, say: Say) -> None:
    """Say what the next looks cost and are worth."""
    _say_missing(state, say)
    if state.table is None:
        say("Nothing is judged yet: the first step runs the missing runs and judges them.")
        return
    have, seconds = state.have, state.seconds
    say(f"{'claim':<44}{'look':>5}{'replicates':>11}{'CPU-s':>9}{'value':>7}")
    for look in sorted(state.next_looks(), key=lambda look: (look.exploratory, -look.value)):
        kind = " (exploratory)" if look.exploratory else ""
        spent = cost(have, [look], seconds)
        say(f"{look.claim + kind:<44}{look.number:>5}{look.replicates:>11}{spent:>9,.0f}{look.value:>7.2f}")
    _say_outcomes(state, say)
