"""Faults while the smoke suite runs: kills, damaged files, full disks.

After every fault the same command, repeated as its messages say, ends with the same bits, and nothing wrong is used in
the meantime. A part runs by default; all of it, as every night, with

    pytest tests/faults --full --seed 11

`--kills N` without `--full` kills N times while a part of the suite runs.

Some faults need root, to mount file systems. Linux only.
"""

import shutil

import corruption
import pytest
import storage
import surroundings
from kills import drawn_kinds, random_kills
from workspace import Workspace

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]

SHORT_KILLS = ("job, SIGKILL", "Snakemake, SIGKILL", "process group, SIGKILL")
needs_mounts = pytest.mark.skipif("not __import__('storage').can_mount()", reason="needs root, to mount file systems")


def clear(place: Workspace) -> None:
    """Remove all results."""
    place.clear()


def clear_part(place: Workspace) -> None:
    """Remove the trainings and predictions of one benchmark, and training data of another one."""
    for name in ("runs/smoke_objects", "data/benchmarks/smoke_letters/train"):
        shutil.rmtree(place.folder / name, ignore_errors=True)


def test_kills(chaos, capsys):
    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    number = chaos.kills or (100 if chaos.full else 0)
    kinds = drawn_kinds(number, chaos.seed) if number else SHORT_KILLS
    undo = clear if chaos.full else clear_part
    undo(chaos.place)
    report = say if number else (lambda line: None)
    chaos.check(random_kills(chaos.place, chaos.reference, kinds, chaos.seed, undo, report))


@pytest.mark.parametrize("damage", [corruption.damaged_results, corruption.damaged_inputs])
def test_damaged_files_are_never_used(chaos, damage):
    chaos.check(damage(chaos.place, chaos.reference, chaos.seed, chaos.full))


@pytest.mark.full
@pytest.mark.parametrize("damage", [corruption.damaged_checkpoints, corruption.damaged_records])
def test_damaged_state_costs_time_only(chaos, damage):
    chaos.check(damage(chaos.place, chaos.reference, chaos.seed, chaos.full))


@pytest.mark.full
@needs_mounts
@pytest.mark.parametrize("fault", [storage.disk_full, storage.read_only, storage.no_shared_memory])
def test_storage(chaos, fault):
    chaos.check(fault(chaos.place, chaos.reference, chaos.seed, chaos.full))


@pytest.mark.full
@pytest.mark.parametrize(
    "fault",
    [
        surroundings.two_at_once,
        surroundings.clock_set_back,
        surroundings.little_memory,
        surroundings.vanishing_source,
    ],
)
def test_surroundings(chaos, fault):
    chaos.check(fault(chaos.place, chaos.reference, chaos.seed, chaos.full))
