"""The chaos harness itself: it notices what it must notice."""

import random

import numpy as np
from corruption import cut, flip, flip_unnoticed
from digests import differences, is_page
from kills import KINDS, drawn_kinds
from processes import JOB
from workspace import Outcome, Tally, Workspace, table


def test_missing_different_and_superfluous_files_are_differences():
    assert differences({"a": "1", "b": "2"}, {"a": "3", "c": "4"}) == [
        "b: missing",
        "a: different bytes",
        "c: should not exist",
    ]


def test_pages_are_compared_apart_but_notebooks_are_not():
    assert is_page("reports/papers/csi.html")
    assert is_page("reports/smoke/papers/csi.html")
    assert not is_page("reports/notebooks/explore.html")
    assert not is_page("reports/smoke/notebooks/explore.html")


def test_the_table_adds_up_the_losses():
    text = table([Tally("one", 2, 2), Tally("two", 3, 1, 1, ["lost"])])
    assert text.splitlines()[-1] == "| all | 5 | 3 | 1 | 1 |"


def test_a_flip_changes_one_bit(tmp_path):
    path = tmp_path / "file"
    for change in (flip, flip_unnoticed):
        path.write_bytes(bytes(1000))
        before = path.stat().st_mtime_ns
        change(path, random.Random(0))
        assert np.unpackbits(np.frombuffer(path.read_bytes(), np.uint8)).sum() == 1
    assert path.stat().st_mtime_ns == before
    cut(path, random.Random(0))
    assert len(path.read_bytes()) < 1000


def test_kills_are_drawn_at_their_weights():
    kinds = drawn_kinds(100, 11)
    assert kinds == drawn_kinds(100, 11)
    assert set(kinds) == set(KINDS)


def test_jobs_are_recognised():
    assert JOB.match("/venv/bin/python3.11 /venv/bin/reprood train --settings {}")
    assert JOB.match("python -m reprood train")
    assert not JOB.match("/venv/bin/python /venv/bin/snakemake --cores 2 --directory /tmp/reprood")
    assert not JOB.match("/bin/bash -c set -euo pipefail; reprood train")


def test_only_printed_advice_is_followed(tmp_path):
    place = Workspace(tmp_path / "place", 1, fill=False)
    commands = []
    place.shell = commands.append
    kept, damaged = place.folder / "runs/a/kept", place.folder / "runs/a/damaged"
    kept.parent.mkdir(parents=True)
    kept.touch()
    damaged.touch()
    assert place.follow_advice(Outcome(1, "Error: Directory cannot be locked. Use --unlock")) == ["snakemake --unlock"]
    text = "error: runs/a/damaged is damaged; remove it.\nmake sure that `reprood results check --remove` is run"
    assert place.follow_advice(Outcome(1, text)) == ["reprood results check --remove", "remove runs/a/damaged"]
    assert place.follow_advice(Outcome(1, "error: runs/a/kept is not what it should be")) == []
    assert commands == ["snakemake --unlock --config suite=smoke", "reprood results check --remove"]
    assert kept.exists()
    assert not damaged.exists()
