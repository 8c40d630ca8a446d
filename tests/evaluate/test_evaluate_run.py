"""Detectors and metrics from stored outputs: what is reused, that reuse changes no byte, and damaged files."""

import doctest
import importlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import reprood.evaluate.run as evaluate
from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.evaluate.outputs import load_outputs
from reprood.evaluate.predictions import load_predictions
from reprood.evaluate.run import Code, Done, evaluate_outputs
from reprood.predict.files import write_features, write_predictions

SIZES = {"validation": 20, "test": 40, "noise": 30}
CLASSES, WIDTH = 3, 6
RUN = {"benchmark": "bench", "method": "erm", "seed": 0}
CODE = Code("m1", {"msp": "a1", "energy": "b1", "knn": "c1", "vim": "d1"})
FILES = ("scores.parquet", "metrics.csv")


def benchmark(*detectors: str, **changes: object) -> Benchmark:
    source = {"dataset": "d", "split": "s"}
    record = {
        "title": "t",
        "preparation": {"size": 8, "channels": 1},
        **dict.fromkeys(("train", "validation", "test"), source),
        "ood": {"noise": {**source, "shift": "noise"}},
        "detectors": {name: {"k": 3} if name == "knn" else {} for name in detectors},
    }
    return Benchmark.model_validate({**record, **changes})


def store(folder: Path, seed: int = 0, *, affine: bool = True, features: bool = True, classes: int = CLASSES) -> Path:
    """Outputs as the predict stage stores them."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(classes, WIDTH)).astype(np.float32), np.zeros(classes, np.float32)
    found = {split: rng.normal(size=(n, WIDTH)).astype(np.float32) for split, n in {"train": 50, **SIZES}.items()}
    columns = {}
    for split in SIZES:
        logits = found[split] @ weight.T + bias
        known = split != "noise"
        count = len(logits)
        columns[split] = {
            "row": np.arange(count, dtype=np.int32),
            "label": np.full(count, 0 if known else -1, np.int32),
            "prediction": logits.argmax(axis=1).astype(np.int32),
            "label_rank": (logits > logits[:, :1]).sum(axis=1).astype(np.int32)
            if known
            else np.full(count, -1, np.int32),
            "logits": logits,
            "score_own": rng.normal(size=count),
        }
    columns["corrupted/fog/1"] = {k: v[:5] for k, v in columns["test"].items() if k != "score_own"}
    facts = {**RUN, "use": "erm", "classes": classes, "native": ["own"], "fitted": {}}
    write_predictions(folder / "predictions.parquet", columns, facts)
    labels = (np.arange(50) % classes).astype(np.int32)
    tensors = {"train/logits": found["train"] @ weight.T, "train/labels": labels} if features else {}
    tensors |= {"head/weight": weight, "head/bias": bias} if affine else {}
    write_features(folder / "features.safetensors", tensors, found if features else {}, RUN)
    return folder


def run(folder: Path, record: Benchmark, code: Code | None = CODE, state: Path | None = None) -> Done:
    return evaluate_outputs(folder, record, "bench", "erm", 0, code=code, state=state)


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def afresh(folder: Path, record: Benchmark, code: Code = CODE) -> list[bytes]:
    """Results of the same outputs without anything that is kept."""
    run(folder, record, code)
    return contents(folder)


def test_unchanged_runs_are_reused_byte_for_byte(tmp_path: Path) -> None:
    folder, state, record = store(tmp_path / "run"), tmp_path / "state", benchmark("energy", "knn", "vim")
    first = run(folder, record, state=state)
    assert first == Done(("msp", "energy", "knn", "vim"), (), False)
    before = contents(folder)
    for name in FILES:  # as Snakemake does before a job
        (folder / name).unlink()
    second = run(folder, record, state=state)
    assert second == Done((), ("msp", "energy", "knn", "vim"), True)
    assert contents(folder) == before == afresh(folder, record)


def test_a_new_detector_computes_only_itself(tmp_path: Path) -> None:
    folder, state = store(tmp_path / "run"), tmp_path / "state"
    run(folder, benchmark("knn"), state=state)
    done = run(folder, benchmark("energy", "knn"), state=state)
    assert done == Done(("energy",), ("msp", "knn"), False)
    assert contents(folder) == afresh(folder, benchmark("energy", "knn"))
    assert load_predictions(folder).scores == ("msp", "energy", "knn", "own")


@pytest.mark.parametrize(
    ("code", "computed", "metrics_reused"),
    [
        (Code("m1", {**CODE.detectors, "knn": "c2"}), ("knn",), False),
        (Code("m2", CODE.detectors), (), False),
        (Code("", CODE.detectors), (), False),
        (Code("m1", {"msp": "a1"}), ("energy", "knn"), False),
        (None, ("msp", "energy", "knn"), False),
        (CODE, (), True),
    ],
)
def test_edited_code_is_computed_again(
    tmp_path: Path, code: Code | None, computed: tuple[str, ...], metrics_reused: bool
) -> None:
    folder, state, record = store(tmp_path / "run"), tmp_path / "state", benchmark("energy", "knn")
    run(folder, record, state=state)
    done = run(folder, record, code, state)
    assert (done.computed, done.metrics_reused) == (computed, metrics_reused)
    assert contents(folder) == afresh(folder, record, code or Code())


def test_changed_options_predictions_and_benchmarks_are_computed_again(tmp_path: Path) -> None:
    folder, state = store(tmp_path / "run"), tmp_path / "state"
    run(folder, benchmark("energy", "knn"), state=state)
    other = benchmark(detectors={"energy": {}, "knn": {"k": 4}})
    assert run(folder, other, state=state) == Done(("knn",), ("msp", "energy"), False)
    gated = benchmark(detectors={"energy": {}, "knn": {"k": 4}}, gate={"accuracy": 0.01})
    assert run(folder, gated, state=state) == Done((), ("msp", "energy", "knn"), False)
    assert run(folder, gated, state=state).metrics_reused
    store(folder, seed=1)
    assert run(folder, gated, state=state) == Done(("msp", "energy", "knn"), (), False)
    assert contents(folder) == afresh(folder, gated)
    # Without detectors there is nothing to reuse scores of, and rows must not come from other predictions.
    store(folder, seed=2, classes=1)
    run(folder, benchmark(evaluations=("detection",)), state=state)
    store(folder, seed=3, classes=1)
    run(folder, benchmark(evaluations=("detection",)), state=state)
    assert contents(folder) == afresh(folder, benchmark(evaluations=("detection",)))


@pytest.mark.parametrize("name", ["scores.parquet", "metrics.csv", "keys.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "other"])
def test_damaged_state_is_not_used(tmp_path: Path, name: str, damage: str) -> None:
    folder, state, record = store(tmp_path / "run"), tmp_path / "state", benchmark("energy", "knn")
    run(folder, record, state=state)
    path = state / name
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    elif damage == "cut":
        path.write_bytes(raw[:-20])
    elif damage == "remove":
        path.unlink()
    else:
        path.write_text('{"inputs": 3}')
    assert run(folder, record, state=state).computed
    assert contents(folder) == afresh(folder, record)


def test_a_job_that_dies_leaves_no_state_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, state, record = store(tmp_path / "run"), tmp_path / "state", benchmark("energy")
    run(folder, record, state=state)
    store(folder, seed=5)

    def dies(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "write_json", dies)
        with pytest.raises(KeyboardInterrupt):
            run(folder, record, state=state)
    assert run(folder, record, state=state).computed == ("msp", "energy")
    assert contents(folder) == afresh(folder, record)


def test_scores_say_how_they_were_made(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    folder = store(tmp_path / "run", affine=False)
    run(folder, benchmark("energy", "vim"))
    table = pq.read_table(folder / "scores.parquet")
    facts = json.loads(table.schema.metadata[b"reprood"])
    assert table.column_names == ["split", "row", "score_msp", "score_energy"]
    assert len(table) == sum(SIZES.values())  # no conditions
    assert facts["detectors"]["energy"]["options"] == {"temperature": 1.0}
    assert len(facts["detectors"]["energy"]["fingerprint"]) == 16
    assert list(facts["skipped"]) == ["vim"]
    assert load_predictions(folder).facts["skipped"] == facts["skipped"]


def test_features_are_read_only_when_a_detector_needs_them(tmp_path: Path) -> None:
    folder = store(tmp_path / "run")
    (folder / "features.safetensors").unlink()
    run(folder, benchmark("energy"))
    with pytest.raises(ReproodError, match=r"features.safetensors does not exist; run the predict stage"):
        run(folder, benchmark("knn"))


def test_one_class_has_no_softmax_score(tmp_path: Path) -> None:
    folder = store(tmp_path / "run", classes=1)
    run(folder, benchmark(evaluations=("detection",)))
    assert load_predictions(folder).scores == ("own",)
    assert (folder / "metrics.csv").is_file()


def test_another_run_is_rejected(tmp_path: Path) -> None:
    folder = store(tmp_path / "run")
    with pytest.raises(ReproodError, match="holds the run bench/erm/0, not bench/erm/1"):
        evaluate_outputs(folder, benchmark(), "bench", "erm", 1)


def features_with(folder: Path, change) -> Path:
    """Change arrays or header of features.safetensors."""
    from safetensors.numpy import load_file, save_file

    path = folder / "features.safetensors"
    tensors, facts = load_file(path), {**RUN, "exponent": 0}
    change(tensors, facts)
    save_file(tensors, path, {"reprood": canonical_json(facts)})
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, f: t.pop("features/test"), "holds no features/test"),
        (lambda t, f: t.update({"features/test": t["features/test"][:5]}), "features/test is float16 of shape"),
        (lambda t, f: t.update({"features/test": t["features/test"].astype(np.float32)}), "features/test is float32"),
        (lambda t, f: t["features/test"].fill(np.inf), "features/test is not finite"),
        (lambda t, f: t.update({"head/weight": t["head/weight"][:2]}), "head/weight is float32 of shape"),
        (lambda t, f: t.pop("head/bias"), "holds no head/bias"),
        (lambda t, f: t["train/labels"].fill(CLASSES), "train/labels must be 0 to 2"),
        (lambda t, f: t.update({"train/logits": t["train/logits"][:, :2]}), "train/logits is float32 of shape"),
        (lambda t, f: f.update(exponent="x"), "exponent of the features is 'x'"),
        (lambda t, f: f.update(exponent=10**6), "exponent of the features is 1000000"),
    ],
)
def test_unfit_features_are_rejected(tmp_path: Path, change, words: str) -> None:
    folder = features_with(store(tmp_path / "run"), change)
    with pytest.raises(ReproodError, match=words):
        load_outputs(folder, features=True)


@pytest.mark.parametrize("raw", [b"", b"x" * 100, struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 4) + b"null"])
def test_damaged_features_are_rejected(tmp_path: Path, raw: bytes) -> None:
    folder = store(tmp_path / "run")
    (folder / "features.safetensors").write_bytes(raw)
    with pytest.raises(ReproodError, match=r"features.safetensors cannot be read"):
        load_outputs(folder, features=True)


@pytest.mark.parametrize(
    "module", ["metrics", "classification", "localisation", "open_set", "segmentation", "variants"]
)
def test_examples_in_docstrings(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"reprood.evaluate.{module}"))
    assert results.failed == 0
    assert results.attempted > 0


def published(folder: Path, target: Path) -> Path:
    """What a release holds of a run: no features."""
    target.mkdir()
    for name in ("predictions.parquet", *FILES):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def test_scores_of_a_release_replace_its_features(tmp_path: Path) -> None:
    record = benchmark("energy", "knn", "vim")
    folder = store(tmp_path / "run")
    before = afresh(folder, record)
    release, state = published(folder, tmp_path / "release"), tmp_path / "state"
    assert evaluate.adopt(release, record, ("bench", "erm", 0), CODE, state) == []
    (folder / "features.safetensors").unlink()
    done = run(folder, record, state=state)
    assert done == Done((), ("msp", "energy", "knn", "vim"), False)
    assert contents(folder) == before
    assert run(folder, benchmark("energy", "knn", "vim", "maxlogit"), state=state).computed == ("maxlogit",)


def test_scores_of_other_code_are_not_adopted(tmp_path: Path) -> None:
    record, folder = benchmark("energy", "knn", "vim"), store(tmp_path / "run")
    run(folder, record)
    release, state = published(folder, tmp_path / "release"), tmp_path / "state"
    other = Code("m1", {**CODE.detectors, "knn": "c2", "energy": "b2"})
    assert evaluate.adopt(release, record, ("bench", "erm", 0), other, state) == ["knn"]
    (folder / "features.safetensors").unlink()
    with pytest.raises(ReproodError, match="features.safetensors does not exist"):
        run(folder, record, other, state)


def test_kept_scores_of_other_predictions_do_not_replace_features(tmp_path: Path) -> None:
    record, folder = benchmark("knn"), store(tmp_path / "run")
    run(folder, record, state=tmp_path / "state")
    other = store(tmp_path / "other", seed=1)
    (other / "features.safetensors").unlink()
    with pytest.raises(ReproodError, match="features.safetensors does not exist"):
        run(other, record, state=tmp_path / "state")
