"""From predictions to metrics, run by run and all together; without torch."""

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from stored_run import write_run

from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.evaluate.collect import collect
from reprood.evaluate.metrics import METRICS, detection_metrics
from reprood.evaluate.scores import write_scores
from reprood.evaluate.table import COLUMNS, evaluate_run, groups, load_predictions, read_metrics

SIZES = {"validation": 10, "test": 60, "unseen": 30, "digits": 20, "noise": 25}


def benchmark(**changes: object) -> Benchmark:
    source = {"dataset": "d", "split": "s"}
    record = {
        "title": "t",
        "preparation": {"size": 8, "channels": 1},
        **dict.fromkeys(("train", "validation", "test"), source),
        "ood": {
            "unseen": {**source, "shift": "near"},
            "digits": {**source, "shift": "far"},
            "noise": {**source, "shift": "noise"},
        },
        "gate": {"accuracy": 0.5},
    }
    return Benchmark.model_validate({**record, **changes})


def write(folder: Path, seed: int = 0, *, accuracy: float = 0.8, method: str = "erm", **columns: np.ndarray) -> Path:
    rng = np.random.default_rng(seed)
    split = np.repeat(list(SIZES), list(SIZES.values()))
    known = np.isin(split, ["validation", "test"])
    n = len(split)
    rank = np.where(rng.random(n) < accuracy, 0, rng.integers(1, 8, n))
    label = np.where(known, rng.integers(0, 8, n), -1)
    table = {
        "split": split,
        "row": np.concatenate([np.arange(size) for size in SIZES.values()]).astype(np.int32),
        "label": label.astype(np.int32),
        "prediction": np.where(rank == 0, label, (label + 1) % 8).astype(np.int32),
        "label_rank": np.where(known, rank, -1).astype(np.int32),
        "score_msp": rng.uniform(0.2, 1, n),
        "score_knn": known + rng.normal(0, 1, n),
        "score_godin_h": rng.normal(0, 1, n).round(1),
        "score_godin_h_eps_0.01": rng.normal(0, 1, n),
        **columns,
    }
    write_run(folder, table, {"benchmark": "bench", "method": method, "seed": seed})
    return folder


def run(folder: Path, seed: int = 0, record: Benchmark | None = None, **changes: object) -> pd.DataFrame:
    write(folder, seed, **changes)
    method = str(changes.get("method", "erm"))
    evaluate_run(folder, record or benchmark(), "bench", method, seed, folder / "metrics.csv")
    return read_metrics(folder / "metrics.csv")


def pick(table: pd.DataFrame, **wanted: str) -> pd.Series:
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_rows_and_values(tmp_path: Path) -> None:
    table = run(tmp_path)
    assert tuple(table.columns) == COLUMNS
    predictions = load_predictions(tmp_path)
    test = predictions.split("test")
    right = test["label_rank"] == 0
    assert pick(table, metric="top1_error")["value"] == pytest.approx(100 * (1 - right.mean()))
    assert pick(table, metric="top5_error")["value"] == pytest.approx(100 * (test["label_rank"] >= 5).mean())
    assert 0 <= pick(table, metric="ece15")["value"] <= 1
    assert pick(table, metric="gate")["value"] == 1
    for score in ("msp", "knn", "godin_h", "godin_h_eps_0.01"):
        for name in ("unseen", "digits", "noise"):
            expected = detection_metrics(test[f"score_{score}"], predictions.split(name)[f"score_{score}"])
            for metric, value in expected.items():
                row = pick(table, split=name, score=score, metric=metric)
                assert row["value"] == value  # also after the way through CSV
                assert (row["n"], row["n_ood"]) == (60, SIZES[name])
        for group, names in {
            "mean_all": ("unseen", "digits", "noise"),
            "mean_natural": ("unseen", "digits"),
            "mean_near": ("unseen",),
            "mean_far": ("digits",),
            "mean_noise": ("noise",),
        }.items():
            values = [pick(table, split=name, score=score, metric="auroc")["value"] for name in names]
            row = pick(table, split=group, score=score, metric="auroc")
            assert row["value"] == pytest.approx(np.mean(values))
            assert row["n_ood"] == sum(SIZES[name] for name in names)
    assert len(table) == 4 + 4 * 8 * len(METRICS)


def test_empty_groups_are_left_out() -> None:
    only_near = {"unseen": {"dataset": "d", "split": "s", "shift": "near"}}
    assert set(groups(benchmark(ood=only_near))) == {"mean_all", "mean_natural", "mean_near"}
    only_noise = {"noise": {"dataset": "d", "split": "s", "shift": "noise"}}
    assert set(groups(benchmark(ood=only_noise))) == {"mean_all", "mean_noise"}


def test_named_groups_and_extra_sets(tmp_path: Path) -> None:
    """A named group has the mean of its sets, with the AUPR at its base rate; an extra set enters no other mean."""
    record = benchmark()
    ood = {name: outlier.model_dump() for name, outlier in record.ood.items()}
    ood["digits"]["extra"] = True
    means = {"both": ["unseen", "noise"], "oe": {"sets": ["digits", "noise"], "base_rate": "1/6"}, "modern": ["digits"]}
    record = benchmark(ood=ood, means=means)
    assert groups(record) == {
        "mean_all": ("unseen", "noise"), "mean_natural": ("unseen",),
        "mean_near": ("unseen",), "mean_noise": ("noise",),
        "both": ("unseen", "noise"), "oe": ("digits", "noise"), "modern": ("digits",),
    }  # fmt: skip
    table, predictions = run(tmp_path, record=record), load_predictions(tmp_path)
    scores = {name: predictions.split(name)["score_knn"].to_numpy() for name in SIZES if name != "validation"}
    for group, rate in (("both", None), ("oe", Fraction(1, 6))):
        each = [detection_metrics(scores["test"], scores[name], base_rate=rate) for name in groups(record)[group]]
        for metric in METRICS:
            row = pick(table, split=group, score="knn", metric=metric)
            assert row["value"] == pytest.approx(np.mean([one[metric] for one in each]), abs=1e-15)
    own = pick(table, split="digits", score="knn", metric="aupr_out")["value"]
    assert pick(table, split="modern", score="knn", metric="aupr_out")["value"] == own
    plain = run(tmp_path / "plain", record=benchmark())
    same = plain["split"].isin(SIZES)
    rest = table[table["split"].isin(SIZES)].reset_index(drop=True)
    pd.testing.assert_frame_equal(plain[same].reset_index(drop=True), rest)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"means": {"m": ["elsewhere"]}}, "means.m names 'elsewhere'"),
        ({"means": {"m": []}}, "at least 1 item"),
        ({"means": {"m": ["unseen", "unseen"]}}, "named twice"),
        ({"means": {"mean_all": ["unseen"]}}, "choose another"),
        ({"means": {"unseen": ["unseen"]}}, "choose another"),
        ({"means": {"m": {"sets": ["unseen"], "base_rate": "6/1"}}}, "between 0 and 1"),
        ({"means": {"m": {"sets": ["unseen"], "base_rate": "0.2"}}}, "match pattern"),
        ({"ood": {"a": {"dataset": "d", "split": "s", "shift": "near", "extra": True}}}, "no mean is left"),
    ],
)
def test_wrong_groups_are_rejected(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        benchmark(**changes)


def test_a_failed_gate_leaves_no_detection_numbers(tmp_path: Path) -> None:
    table = run(tmp_path, accuracy=0.2)
    assert pick(table, metric="gate")["value"] == 0
    assert set(table["split"]) == {"test"}
    assert set(table["metric"]) == {"top1_error", "top5_error", "ece15", "gate"}


def test_without_a_gate_there_is_no_gate_row(tmp_path: Path) -> None:
    table = run(tmp_path, record=benchmark(gate=None), accuracy=0.0)
    assert "gate" not in set(table["metric"])
    assert "auroc" in set(table["metric"])


@pytest.mark.parametrize(("names", "metrics"), [(("classification",), {"top1_error"}), (("detection",), {"auroc"})])
def test_only_requested_evaluations_are_computed(tmp_path: Path, names: tuple[str, ...], metrics: set[str]) -> None:
    computed = set(run(tmp_path, record=benchmark(evaluations=names))["metric"])
    assert computed & {"top1_error", "auroc"} == metrics


def test_same_input_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert (tmp_path / "a/metrics.csv").read_bytes() == (tmp_path / "b/metrics.csv").read_bytes()


def test_refuses(tmp_path: Path) -> None:
    out = tmp_path / "metrics.csv"
    with pytest.raises(ReproodError, match="does not exist; run the predict stage"):
        evaluate_run(tmp_path / "none", benchmark(), "bench", "erm", 0, out)
    for name, stage in (("predictions.parquet", "predict"), ("scores.parquet", "evaluate")):
        path = write(tmp_path / "run")
        (path / name).write_bytes(b"PAR1 not really")
        with pytest.raises(ReproodError, match=f"{name} cannot be read.*the {stage} stage"):
            evaluate_run(path, benchmark(), "bench", "erm", 0, out)
        pq.write_table(pa.table({"x": [1]}), path / name)
        with pytest.raises(ReproodError, match=f"{name} is not a file of the {stage} stage"):
            evaluate_run(path, benchmark(), "bench", "erm", 0, out)
        (path / name).unlink()
        with pytest.raises(ReproodError, match=f"{name} does not exist; run the {stage} stage"):
            evaluate_run(path, benchmark(), "bench", "erm", 0, out)
    path = write(tmp_path)
    with pytest.raises(ReproodError, match="holds the run bench/erm/0, not bench/cutmix/0"):
        evaluate_run(path, benchmark(), "bench", "cutmix", 0, out)
    more = {**benchmark().model_dump()["ood"], "blobs": {"dataset": "d", "split": "s", "shift": "noise"}}
    with pytest.raises(ReproodError, match="no split 'blobs'"):
        evaluate_run(path, benchmark(ood=more), "bench", "erm", 0, out)
    nan = np.full(sum(SIZES.values()), np.nan)
    with pytest.raises(ReproodError, match=r"Score bad, test against unseen: 60 of 60 in-distribution scores are not"):
        run(tmp_path, score_bad=nan)
    assert not out.exists()


def test_scores_of_other_predictions_are_rejected(tmp_path: Path) -> None:
    for folder, seed in ((tmp_path / "a", 0), (tmp_path / "b", 1)):
        write(folder, seed)
    shutil.copy(tmp_path / "b/scores.parquet", tmp_path / "a/scores.parquet")
    with pytest.raises(ReproodError, match="holds the run bench/erm/1, not bench/erm/0; run the evaluate stage"):
        load_predictions(tmp_path / "a")
    rows = {name: size for name, size in SIZES.items() if name != "digits"}
    facts = {"benchmark": "bench", "method": "erm", "seed": 0}
    write_scores(tmp_path / "a/scores.parquet", rows, {"msp": np.zeros(sum(rows.values()))}, facts)
    with pytest.raises(ReproodError, match="does not have the rows of"):
        load_predictions(tmp_path / "a")
    count = sum(SIZES.values())
    write_scores(tmp_path / "a/scores.parquet", SIZES, {"godin_h": np.zeros(count)}, facts)
    with pytest.raises(ReproodError, match="names its score godin_h, which is a detector's name"):
        load_predictions(tmp_path / "a")


def test_conditions_have_no_scores(tmp_path: Path) -> None:
    columns = {"split": ["validation", "test", "corrupted/fog/1"], "score_msp": [0.5, 0.6, 0.0]}
    columns |= {name: [0, 0, 0] for name in ("row", "label", "prediction", "label_rank")}
    write_run(tmp_path, columns, {"benchmark": "b", "method": "m", "seed": 0}, odin={"fitted": {"epsilon": 0.1}})
    predictions = load_predictions(tmp_path)
    assert predictions.table["score_msp"].isna().tolist() == [False, False, True]
    assert predictions.facts["fitted"] == {"odin": {"epsilon": 0.1}}
    assert predictions.facts["skipped"] == {}


def test_collect(tmp_path: Path) -> None:
    parts = []
    for method in ("erm", "cutmix"):
        for seed in (1, 0):
            run(tmp_path / method / str(seed), seed, method=method)
            parts.append(tmp_path / method / str(seed) / "metrics.csv")
    parquet, csv, summary = (tmp_path / name for name in ("m.parquet", "m.csv", "summary.json"))
    collect(parts, parquet, csv, summary)
    table = read_metrics(csv)
    assert list(dict.fromkeys(zip(table["method"], table["seed"], strict=True))) == [
        ("cutmix", 0),
        ("cutmix", 1),
        ("erm", 0),
        ("erm", 1),
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)
    bytes_before = [path.read_bytes() for path in (parquet, csv, summary)]
    collect(parts[::-1], parquet, csv, summary)
    assert [path.read_bytes() for path in (parquet, csv, summary)] == bytes_before
    found = json.loads(summary.read_text())["bench"]["erm"]
    chosen = table[(table["method"] == "erm") & (table["score"] == "msp") & (table["split"] == "mean_natural")]
    mean = chosen[chosen["metric"] == "auroc"]["value"].mean()
    assert found["msp.mean_natural.auroc"] == pytest.approx(mean, abs=1e-6)
    assert found["seeds"] == 2
    assert "godin_h.mean_all.auroc" in found
    assert not any("knn" in key or "_eps_" in key for key in found)
    with pytest.raises(ReproodError, match="given twice"):
        collect([parts[0], parts[0]], parquet, csv, summary)
    with pytest.raises(ReproodError, match="no metrics to collect"):
        collect([], parquet, csv, summary)
    parts[0].write_text("a,b\n1,2\n")
    with pytest.raises(ReproodError, match="not a table of metrics"):
        collect(parts, parquet, csv, summary)


@pytest.mark.slow
def test_evaluation_does_not_import_torch() -> None:
    modules = [path.stem for path in Path(sys.modules["reprood.evaluate.table"].__file__ or "").parent.glob("[!_]*.py")]
    assert "table" in modules
    imports = "; ".join(f"import reprood.evaluate.{name}" for name in modules)
    code = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
