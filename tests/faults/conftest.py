"""The reference run, a workspace for each test, and a table of the results at the end."""

import subprocess
from dataclasses import dataclass, field

import pytest
from workspace import Reference, Tally, Workspace, reference_of, table

COLLECTED: list[Tally] = []


@dataclass
class Chaos:
    """What a chaos test needs, and the results that it collects."""

    reference: Reference
    place: Workspace
    seed: int
    full: bool
    kills: int | None
    tallies: list[Tally] = field(default_factory=list)

    def check(self, tallies: list[Tally]) -> None:
        """Keep the results for the table and fail on losses."""
        COLLECTED.extend(tallies)
        losses = [f"{tally.fault}: {loss}" for tally in tallies for loss in tally.losses]
        assert not losses, "\n".join(losses)
        assert all(tally.times == tally.resumed + tally.repaired for tally in tallies), tallies
        assert any(tally.times for tally in tallies), "no fault was caused"


@pytest.fixture(scope="session")
def reference(built, tmp_path_factory) -> Reference:
    """Return a copy of the finished smoke suite as the run without faults."""
    folder = tmp_path_factory.mktemp("chaos") / "reference"
    subprocess.run(["cp", "-a", str(built.folder), str(folder)], check=True)
    return reference_of(folder, 2)


@pytest.fixture
def chaos(reference, tmp_path, request) -> Chaos:
    """Return a copy of the finished smoke suite and the options."""
    place = Workspace.copy(reference, tmp_path / "place", 2)
    options = [request.config.getoption(name) for name in ("--seed", "--full", "--kills")]
    return Chaos(reference, place, *options)


def pytest_terminal_summary(terminalreporter):
    if COLLECTED:
        terminalreporter.section("chaos")
        terminalreporter.write_line(table(COLLECTED))
