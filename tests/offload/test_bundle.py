"""Bundles: complete or rejected; what makes a job another one; which runs a pattern selects."""

import ast
import dataclasses
import json
import sys
import tarfile

import pytest

from reprood.core.errors import ReproodError
from reprood.core.registry import module_name
from reprood.methods import registry
from reprood.nets.registry import backbones
from reprood.offload.bundle import check_bundle, write_bundle
from reprood.offload.jobs import Job, Result, difference, job_from, read_record, record_path, selected, write_record
from reprood.offload.visit import NEEDED
from reprood.pipeline.fingerprint import closure, source

TRAIN = Job(
    kind="train",
    benchmark="bench",
    method="erm",
    seed=0,
    command=("train", "--settings", "{}"),
    settings="{}",
    code="abc",
    data={"train": "1", "test": "2"},
    inputs=("data/benchmarks/bench/train/images.npy",),
    folder="runs/bench/erm/0",
    outputs=("runs/bench/erm/0/model.safetensors",),
    log="logs/train/bench/erm/0.log",
    state="state/train/bench/erm/0/key",
)


@pytest.mark.parametrize("name", ["bundle.tar", "bundle.tar.gz"])
def test_a_bundle_is_complete_or_rejected(tmp_path, name):
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4000)
    files = {"data/large": tmp_path / "large", "data/same": tmp_path / "large", "run.py": b"small"}
    write_bundle(tmp_path / "out" / name, files, {"suite": "tiny"})
    assert (tmp_path / "out" / name).stat().st_size < 1.5e6  # equal files are stored once
    with tarfile.open(tmp_path / "out" / name) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / "bundle"
    assert check_bundle(folder)["suite"] == "tiny"
    assert (folder / "data" / "same").read_bytes() == (tmp_path / "large").read_bytes()

    (folder / "run.py").write_bytes(b"other")
    with pytest.raises(ReproodError, match=r"run.py is not the file that was packed"):
        check_bundle(folder)
    (folder / "run.py").unlink()
    with pytest.raises(ReproodError, match=r"run.py is missing"):
        check_bundle(folder)


def test_settings_code_and_data_make_the_identity():
    other_command = dataclasses.replace(TRAIN, command=())
    assert other_command.identity == TRAIN.identity
    assert difference(TRAIN, other_command) == ""
    for change, words in (
        ({"code": "x"}, "code has changed (fingerprint abc in the results, x here)"),
        ({"settings": '{"a":1}'}, "settings"),
        ({"data": {"train": "1", "test": "3"}}, "split test"),
        ({"data": {**TRAIN.data, "more": "3"}}, "split more"),
    ):
        changed = dataclasses.replace(TRAIN, **change)
        assert words in difference(TRAIN, changed)
        assert changed.identity != TRAIN.identity


def test_a_record_comes_back_as_it_was_or_is_rejected(tmp_path):
    result = Result(TRAIN.identity, "done", ({"machine": {}, "seconds": 3.5},), {"a": "b"}, "m")
    write_record(tmp_path, TRAIN, result)
    path = record_path(tmp_path, TRAIN)
    assert read_record(path) == (TRAIN, result)
    assert job_from(json.loads(path.read_text())["job"]) == TRAIN
    record = json.loads(path.read_text())
    for change, words in (
        ({"job": {**record["job"], "code": "x"}}, "was changed"),
        ({"job": {}}, "is not a record of this version"),
    ):
        path.write_text(json.dumps({**record, **change}))
        with pytest.raises(ReproodError, match=words):
            read_record(path)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [([], True), (["erm"], True), (["bench"], True), (["bench/*/0"], True), (["*/1"], False), (["er"], False)],
)
def test_patterns_select_runs(patterns, expected):
    assert selected("bench/erm/0", patterns) is expected


def test_a_visit_asks_for_every_package_that_jobs_import():
    entries = ["reprood.train.run", "reprood.predict.run"]  # the command line imports typer and these
    entries += [module_name("methods", name) for name in registry.methods()]
    entries += [f"reprood.nets.{name}" for name in backbones()]
    imported = set()
    for module in {module for entry in entries for module in closure(entry)}:
        for node in ast.parse(source(module).read_bytes()).body:  # at the top of a module
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) - {"reprood"} <= set(NEEDED)
