"""The stage `train`: files, errors, locks, and runs that are killed or stopped."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_problem import save_benchmark, settings

from reprood.core.errors import ReproodError
from reprood.core.files import file_lock, sha256_file
from reprood.engine.batches import make_inputs
from reprood.engine.optimizers import build_optimizer
from reprood.engine.run import Stopped
from reprood.train.run import load_model, parse_config, train_run

FILES = ("history.csv", "model.json", "model.safetensors", "run.json")


def start(tmp_path: Path, record: dict, name: str = "out", **options: object) -> Path:
    if not (tmp_path / "data").exists():
        save_benchmark(tmp_path / "data")
    values = {"device": "cpu", "threads": 1, "state": tmp_path / "state" / name, **options}
    train_run(record, data=tmp_path / "data", out=tmp_path / name, **values)
    return tmp_path / name


def trainer(tmp_path: Path, record: dict, name: str, kills: int, seed: int = 0) -> int:
    script = Path(__file__).parents[1] / "support" / "kill_trainer.py"
    folders = [str(tmp_path / part) for part in ("data", f"out_{name}", f"state_{name}")]
    command = [sys.executable, str(script), json.dumps(record), *folders, str(kills), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=300)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("use", "precision"), [("godin", "fp32"), ("cutmix", "bf16")])
def test_killed_ten_times_ends_in_the_same_bits(tmp_path, use, precision) -> None:
    save_benchmark(tmp_path / "data", count=160)
    record = {**settings(use, epochs=20, batch_size=16, monitor_every=3), "precision": precision}
    assert trainer(tmp_path, record, "whole", kills=0) == 0
    assert trainer(tmp_path, record, "killed", kills=10) == 10
    for file in ("model.safetensors", "model.json", "history.csv"):
        assert sha256_file(tmp_path / "out_whole" / file) == sha256_file(tmp_path / "out_killed" / file), file
    phases = [json.loads((tmp_path / f"out_{n}" / "run.json").read_text())["phases"] for n in ("whole", "killed")]
    assert phases[0][0]["resumed"] == 0
    assert phases[1][0]["resumed"] > 3
    assert not (tmp_path / "state_killed").exists()


@pytest.mark.parametrize("use", ["erm", "cutmix", "godin"])
def test_files_of_a_run(tmp_path, use) -> None:
    out = start(tmp_path, settings(use), machine={"cores": 3})
    assert sorted(path.name for path in out.iterdir()) == list(FILES)
    assert not (tmp_path / "state" / "out").exists()
    lines = (out / "history.csv").read_text().splitlines()
    assert lines[0] == "phase,epoch,lr,train_loss,validation_error,test_error"
    assert len(lines) == 3
    facts = json.loads((out / "run.json").read_text())
    assert facts["precision"] == "fp32"
    assert facts["threads"] == 1
    assert facts["data"]["train"] == json.loads((tmp_path / "data" / "train" / "meta.json").read_text())["content"]
    assert facts["phases"][0]["images"] == 2 * 96
    assert facts["model"] == sha256_file(out / "model.safetensors")
    assert facts["machine"] == {"cores": 3}
    assert facts["processes"] == 1
    assert datetime.fromisoformat(facts["finished"]).tzinfo is not None

    model, meta, method, config = load_model(out, "cpu")
    assert not model.training
    assert method.name == use
    assert config.training.epochs == 2
    assert (meta["channels"], meta["size"], meta["classes"], meta["method"]) == (1, 16, 3, "arm")
    assert meta["class_names"] == ["class 0", "class 1", "class 2"]
    # The stored model has the last epoch's error.
    images = np.load(tmp_path / "data" / "test" / "images.npy")
    inputs = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - meta["mean"][0]) / meta["std"][0]
    with torch.no_grad():
        wrong = model(inputs).argmax(1).numpy() != np.load(tmp_path / "data" / "test" / "labels.npy")
    assert 100 * wrong.mean() == pytest.approx(float(lines[-1].split(",")[-1]), abs=1e-9)


def test_equal_seeds_equal_bits_and_other_seeds_others(tmp_path) -> None:
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = start(tmp_path, {**settings("cutmix"), "seed": seed}, name)
        hashes.append(sha256_file(out / "model.safetensors"))
    assert hashes[0] == hashes[1] != hashes[2]


def batches_of(monkeypatch, tmp_path: Path, use: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the first weights of the network and the prepared images of every batch of a training."""
    weights: list[np.ndarray] = []
    images: list[np.ndarray] = []

    def watched(problem: object, training: object, run: object) -> object:
        prepare = make_inputs(problem, training, run)

        def keep(part: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            prepared = prepare(part, generator)
            images.append(prepared.contiguous().numpy().copy())
            return prepared

        return keep

    def first(model: torch.nn.Module, *rest: object) -> object:
        weights.extend(p.detach().clone().numpy() for p in model.parameters())
        return build_optimizer(model, *rest)

    monkeypatch.setattr("reprood.engine.fit.make_inputs", watched)
    monkeypatch.setattr("reprood.engine.fit.build_optimizer", first)
    backbone = {"name": "wrn", "depth": 10, "width": 1, "stem_stride": 2}
    start(tmp_path, {**settings(use, augment="crop_flip"), "method": f"arm_{use}", "backbone": backbone}, use)
    return weights, images


def test_arms_of_a_replicate_share_first_weights_and_batches(tmp_path, monkeypatch) -> None:
    plain, mixed = (batches_of(monkeypatch, tmp_path, use) for use in ("erm", "cutmix"))
    for one, other in zip(plain, mixed, strict=True):
        assert len(one) == len(other) > 2
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(plain[1][0], plain[1][1])
    models = [sha256_file(tmp_path / use / "model.safetensors") for use in ("erm", "cutmix")]
    assert models[0] != models[1]


def test_other_data_does_not_resume_an_old_state(tmp_path, caplog) -> None:
    from tiny_problem import arrays

    from reprood.data.arrays import save_split

    record = settings()
    start(tmp_path, record)
    expected = start(tmp_path, record, "second")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("reprood.train.run._write", broken)
        start(tmp_path, record, "third")
    assert (tmp_path / "state" / "third" / "train.checkpoint").exists()
    images, labels = arrays(96, 16, 1, 3, 9)
    save_split(tmp_path / "data" / "train", images, labels, {}, {"name": "train", "split": "train", "classes": []})
    other = start(tmp_path, record, "third")
    assert "other settings, data or software" in caplog.text
    assert sha256_file(other / "model.safetensors") != sha256_file(expected / "model.safetensors")


def test_a_second_process_is_refused(tmp_path) -> None:
    lock = tmp_path / "state" / "out" / "lock"
    with file_lock(lock), pytest.raises(ReproodError, match="Another process is training bench/arm/0"):
        start(tmp_path, settings())
    start(tmp_path, settings())


def test_a_stopped_run_resumes_to_the_same_bits(tmp_path) -> None:
    expected = start(tmp_path, settings("cutmix"), "uninterrupted")
    stops = iter([False] * 7 + [True])
    with pytest.raises(Stopped):
        start(tmp_path, settings("cutmix"), "out", stop=lambda: next(stops))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "state" / "out" / "train.checkpoint").exists()
    out = start(tmp_path, settings("cutmix"))
    for file in ("model.safetensors", "history.csv"):
        assert sha256_file(out / file) == sha256_file(expected / file)
    assert json.loads((out / "run.json").read_text())["phases"][0]["resumed"] == 1
    assert not (tmp_path / "state" / "out").exists()


def test_a_failed_run_leaves_no_result_and_keeps_its_state(tmp_path) -> None:
    record = settings("godin", lr=1e12, weight_decay=1.0)
    with pytest.raises(ReproodError, match="bench/arm/0: phase train"):
        start(tmp_path, record)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "state" / "out").is_dir()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"settings": {"training": {"epoch": 3}}}, ("bench/arm", "training.epoch", "not known")),
        ({"settings": {"training": {"lr": -1}}}, ("training.lr", "greater than 0", "-1")),
        ({"settings": {"mix": "cutmax"}, "use": "cutmix"}, ("mix", "cutmax")),
        ({"use": "cutmax"}, ("cutmax", "cutmix")),
        ({"backbone": {"name": "wrm"}}, ("wrm", "wrn")),
        ({"backbone": {"name": "wrn", "deep": 10}}, ("deep",)),
        ({"backbone": {}}, ("wrn",)),
        ({"precision": "fp8"}, ("fp8", "bf16")),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path, change, parts) -> None:
    with pytest.raises(ReproodError) as caught:
        start(tmp_path, {**settings(), **change})
    for part in parts:
        assert part in str(caught.value)


def test_incomplete_settings(tmp_path) -> None:
    record = settings()
    del record["backbone"]
    with pytest.raises(ReproodError, match="have no backbone"):
        start(tmp_path, record)


def test_settings_lie_over_the_papers(tmp_path) -> None:
    config = parse_config({**settings("cutmix"), "settings": {"training": {"epochs": 5}, "mix": "mixup"}})
    assert (config.training.epochs, config.training.lr, config.mix, config.alpha) == (5, 0.25, "mixup", 1.0)
    assert config.training.nesterov


def test_missing_data_are_named(tmp_path) -> None:
    save_benchmark(tmp_path / "data")
    (tmp_path / "data" / "validation" / "images.npy").unlink()
    with pytest.raises(ReproodError, match="validation"):
        start(tmp_path, settings())


def test_a_model_that_does_not_fit_is_refused(tmp_path) -> None:
    out = start(tmp_path, settings())
    path = out / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ReproodError, match="train the run again"):
        load_model(out, "cpu")


def test_display_and_machine_facts_are_no_part_of_a_training() -> None:
    """Editing them must not retrain anything."""
    from reprood.core.registry import module_name
    from reprood.methods import registry
    from reprood.pipeline.fingerprint import closure

    entries = ["reprood.train.run", *(module_name("methods", name) for name in registry.methods())]
    modules = {module for entry in entries for module in closure(entry)}
    assert "reprood.engine.fit" in modules
    assert not modules & {"reprood.core.progress", "reprood.core.machine"}
