"""A release of the real workflow: built by its rule, verified, and some of its runs trained again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from reprood.publish.rerun import Rerun, sample_runs

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def released(built):
    built.snakemake("publish")
    return built


def command(checkout, folder: Path, *options: str, check: bool = True) -> str:
    done = checkout.run("reprood", "verify", str(folder), *options, check=check)
    return done.stdout + done.stderr


def test_the_rule_builds_a_release_whose_runs_come_out_again(released):
    text = command(released, released.folder / "published" / "draft", "--spot", "1", "--spot-seed", "4")
    assert "All 11 checks hold." in text
    assert ": the same bits" in text
    assert "Nothing to be done" in released.snakemake("publish", "-n").stdout
    assert released.plan() == {}


def test_another_model_and_other_data_are_reported(released, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(released.folder / "published" / "draft", folder)
    benchmark, method, seed = sample_runs(folder, 1, np.random.default_rng(4))[0]
    record = folder / "runs" / benchmark / method / str(seed) / "run.json"
    stated = json.loads(record.read_text())
    record.write_text(json.dumps({**stated, "model": "0" * 64}))
    text = command(released, folder, "--spot", "1", "--spot-seed", "4", check=False)
    assert f"{benchmark}/{method}/{seed}: other bits; largest difference 0.00 points" in text
    assert "1 random runs come out as published" in text.splitlines()[-1]
    record.write_text(json.dumps({**stated, "model": "0" * 64, "device": "Another GPU"}))
    text = command(released, folder, "--spot", "1", "--spot-seed", "4", check=False)
    assert f"{benchmark}/{method}/{seed}: other bits (other device than recorded)" in text
    assert "random runs come out" not in text.splitlines()[-1]
    meta = folder / "data" / "benchmarks" / benchmark / "test" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "content": "f" * 64}))
    text = command(released, folder, "--spot", "1", "--spot-seed", "4", check=False)
    assert text.splitlines()[-1].startswith("error: ")
    assert "holds other data than the release" in text.splitlines()[-1]


def test_runs_are_drawn_by_the_seed(released):
    folder = released.folder / "published" / "draft"
    first, again, other = (sample_runs(folder, 3, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len(set(first)) == 3
    assert len(sample_runs(folder, 10_000, np.random.default_rng(0))) == len(
        set(sample_runs(folder, 10_000, np.random.default_rng(1)))
    )


@pytest.mark.parametrize(
    ("same", "elsewhere", "holds"), [(True, (), True), (False, ("device",), None), (False, (), False)]
)
def test_other_bits_prove_something_only_on_the_same_machine(same, elsewhere, holds):
    assert Rerun("a/b/0", same, elsewhere, "n").holds is holds
