"""Bad records of the evaluation and the audit: predictions, metrics, histories, studies, verdicts."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile_data import npz, objects, shaped
from hostile_harness import Act, Case
from hostile_records import command, nothing, write
from hostile_settings import GOOD as SUITE

CASES: list[Case] = []
PREDICTIONS = "predictions"
METRICS = "metrics, histories, studies, verdicts"


# --- predictions: `reprood evaluate runs` ---

FACTS = {"benchmark": "toy", "method": "erm", "seed": 0, "classes": 2, "fitted": {}, "native": []}


def columns() -> dict[str, Any]:
    splits = ["validation"] * 20 + ["test"] * 20 + ["noise"] * 20
    rng = np.random.default_rng(0)
    return {
        "split": splits, "row": list(range(20)) * 3, "label": [0] * 40 + [-1] * 20, "prediction": [0] * 60,
        "label_rank": [0] * 40 + [-1] * 20, "score_own": rng.random(60).tolist(),
        "logits": pa.array(rng.random((60, 2)).astype(np.float32).tolist(), pa.list_(pa.float32(), 2)),
    }  # fmt: skip


def parquet(path: Path, given: dict[str, Any], facts: Any = FACTS) -> None:
    text = facts if isinstance(facts, bytes) else json.dumps(facts).encode()
    pq.write_table(pa.table(given).replace_schema_metadata({"reprood": text}), path)


def predictions(name: str, make: Callable[[Path], object], *words: str) -> None:
    def build(inside: Path) -> Act:
        (inside / "run").mkdir()
        make(inside / "run/predictions.parquet")
        spec = json.dumps({"name": "toy", "runs": [["erm", 0, "run", "run"]], **SUITE["benchmarks"]["toy"]})
        return Act(["evaluate", "runs", "--spec", spec], inside, inside / "run/metrics.csv")

    CASES.append(Case(PREDICTIONS, name, build, ("run", *words)))


def with_column(name: str, value: Any) -> Callable[[Path], object]:
    return lambda at: parquet(at, {**columns(), name: value})


def with_facts(facts: Any) -> Callable[[Path], object]:
    return lambda at: parquet(at, columns(), facts)


def crowded(path: Path) -> None:
    """Return a record that claims ten thousand million rows in a few kilobytes."""
    parquet(path, columns())
    raw = bytearray(path.read_bytes())
    size = struct.unpack("<I", raw[-8:-4])[0]
    footer = raw[-8 - size : -8]
    assert footer.count(b"\x16\x78") >= 1  # 60 rows as a number of variable length
    footer = footer.replace(b"\x16\x78", b"\x16\x80\xa0\xb7\x87\xe9\x05")
    path.write_bytes(raw[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1")


predictions("no file", nothing, "does not exist")
predictions("0 bytes", lambda at: write(at, b""), "cannot be read")
predictions("text", lambda at: write(at, "split,row\n"), "cannot be read")
predictions("cut", lambda at: (parquet(at, columns()), write(at, at.read_bytes()[:-30])), "cannot be read")
predictions("more rows than memory", crowded)
predictions("no columns of predictions", lambda at: parquet(at, {"x": [1]}), "split", "missing")
predictions("no metadata", lambda at: pq.write_table(pa.table(columns()), at), "metadata")
predictions("metadata that are no JSON", with_facts(b"{"), "metadata", "JSON")
predictions("metadata nested 100,000 deep", with_facts(b"[" * 100_000), "metadata", "JSON")
predictions("metadata that are a list", with_facts([]), "metadata", "missing")
predictions("metadata without a run", with_facts({}), "metadata 'benchmark'")
predictions("metadata whose scores are a text", with_facts({**FACTS, "native": "x"}), "metadata 'native'")
predictions("another run", with_facts({**FACTS, "seed": 7}), "holds the run toy/erm/7")
predictions(
    "another run, of a name with HTML", with_facts({**FACTS, "method": "<script>"}), "holds the run toy/<script>/0"
)
predictions("no rows", lambda at: parquet(at, {k: pa.array(v[:0], pa.string() if k == "split" else
            pa.float64() if k.startswith("score") else v.type if k == "logits" else pa.int32()) for k, v in columns().items()}), "no split")  # fmt: skip
predictions("no test rows", with_column("split", ["validation"] * 60), "no split 'test'")
predictions("no outliers", with_column("split", [*columns()["split"][:40], *["other"] * 20]), "no split 'noise'")
predictions("splits that are numbers", with_column("split", [1] * 60), "split")
predictions("a split that is missing", with_column("split", [None, *columns()["split"][1:]]), "split")
for key in ("row", "label", "prediction", "label_rank"):
    predictions(f"{key} of text", with_column(key, ["x"] * 60), key, "whole number")
    predictions(f"{key} that is missing once", with_column(key, [None, *columns()[key][1:]]), key, "whole number")
    predictions(f"{key} of fractions", with_column(key, [0.5] * 60), key, "whole number")
predictions("a score of text", with_column("score_own", ["high"] * 60), "score_own")
predictions("a score of NaN", with_column("score_own", [float("nan")] * 60), "own", "not finite")
predictions("a score of infinity once", with_column("score_own", [*columns()["score_own"][:-1], float("inf")]), "own")
predictions("a score that is missing once", with_column("score_own", [*columns()["score_own"][:-1], None]), "own")
predictions("a score that is a list", with_column("score_own", [[1.0]] * 60), "score_own")
predictions("no logits", lambda at: parquet(at, {k: v for k, v in columns().items() if k != "logits"}), "no logits")
predictions("logits of text", with_column("logits", [["a", "b"]] * 60), "logits", "float32")
predictions("logits of several sizes", with_column("logits", [[0.5]] * 59 + [[0.5, 1.0]]), "logits", "one size")
predictions(
    "logits of NaN", with_column("logits", pa.array([[float("nan")] * 2] * 60, pa.list_(pa.float32(), 2))), "logits"
)
predictions("logits that are missing once", with_column(
    "logits", pa.array([None, *[[0.5, 1.0]] * 59], pa.list_(pa.float32(), 2))), "logits", "every row")  # fmt: skip
predictions("no number of classes", with_facts({**FACTS, "classes": "2"}), "classes")
predictions("a score named by a formula", with_column("score_=1+1", [0.5] * 60), "score", "=1+1")
predictions("a score named with a line break", with_column("score_a\nb", [0.5] * 60), "score")

# --- tables: metrics, histories, studies, verdicts ---

HEAD = "benchmark,method,seed,split,score,metric,value,n,n_ood\n"
LINE = "toy,erm,0,test,-,top1_error,5.0,20,0\n"


def metrics(name: str, text: str | bytes, *words: str, seeds: tuple[int, ...] = (0,)) -> None:
    def build(inside: Path) -> Act:
        import fabricate

        (inside / "runs/toy/erm/0").mkdir(parents=True)
        write(inside / "runs/toy/erm/0/metrics.csv", text)
        record = {"name": "toy", **fabricate.SUITE, "runs": [{"benchmark": "toy", "methods": ["erm"], "seeds": seeds}]}
        arguments = ["evaluate", "collect", "--suite", json.dumps(record), "--out", "all"]
        return Act(arguments, inside, inside / "all" / "metrics.csv")

    CASES.append(Case(METRICS, f"metrics: {name}", build, words or ("metrics.csv",)))


metrics("0 bytes", "", "metrics.csv", "not a table of metrics")
metrics("no UTF-8", b"\xff\xfe\x00", "metrics.csv")
metrics("other columns", "a,b\n1,2\n", "metrics.csv", "not a table of metrics")
metrics("no lines", HEAD + '"', "metrics.csv")
metrics("a value of text", HEAD + LINE.replace("5.0", "high"), "metrics.csv", "high")
metrics("a value of infinity", HEAD + LINE.replace("5.0", "inf"), "metrics.csv", "infinite")
metrics("a seed of text", HEAD + LINE.replace(",0,test", ",x,test"), "metrics.csv")
metrics("a seed beyond 63 bits", HEAD + LINE.replace(",0,test", f",{2**70},test"), "metrics.csv")
metrics("a negative count", HEAD + LINE.replace(",20,", ",-20,"), "metrics.csv", "negative count")
metrics("a line that is too long", HEAD + LINE + LINE.strip() + ",1,2,3\n", "metrics.csv")
metrics("a line twice", HEAD + LINE + LINE, "toy/erm/0 is given twice")
metrics("a null character", HEAD + LINE.replace("erm", "e\0m"), "metrics.csv")
metrics("an open quote", HEAD + '"' + LINE, "metrics.csv")
metrics("a file that is missing", HEAD + LINE, "runs/toy/erm/1/metrics.csv does not exist", seeds=(0, 1))
for title, cell in {
    "a formula": "=1+1", "a command": "=cmd|' /C calc'!A1", "a sum": "+1", "a difference": "-1", "a function": "@SUM(A1)",
    "HTML": "<script>alert(1)</script>", "a path": "../../x", "an escape sequence": "\x1b[31m", "nothing": "", "a blank": "a b",
}.items():  # fmt: skip
    metrics(f"a method that is {title}", HEAD + LINE.replace("erm", cell), "metrics.csv, line 2", "method")


def history(name: str, text: bytes, *words: str) -> None:
    def build(inside: Path) -> Act:
        from fabricate import results

        results(inside, runs=[{"benchmark": "toy", "methods": ["erm"], "seeds": [0]}])
        write(inside / "runs/toy/erm/0/history.csv", text)
        examples = inside / "results/toy/examples/toy.npz"
        examples.parent.mkdir(parents=True)
        np.savez(examples, original=np.zeros((8, 4, 4, 1), np.uint8))
        return drawn(inside)

    CASES.append(Case(METRICS, f"history: {name}", build, ("history.csv", *words)))


def drawn(inside: Path) -> Act:
    import fabricate

    record = {"name": "toy", **fabricate.SUITE, "runs": [{"benchmark": "toy", "methods": ["erm"], "seeds": [0]}]}
    return Act(
        [
            "report",
            "draw",
            "toy",
            "--suite",
            json.dumps(record),
            "--examples",
            "results/toy/examples",
            "--out",
            "reports",
        ],
        inside,
    )


history("0 bytes", b"")
history("no UTF-8", b"\xff\xfe\x00\x01")
history("other columns", b"a,b\n1,2\n")
history("a loss of text", b"phase,epoch,lr,train_loss\ntrain,1,0.1,low\n", "train_loss")
history("a line that is too long", b"phase,epoch,lr,train_loss\ntrain,1,0.1,0.5\ntrain,1,0.1,0.5,1,2,3\n")
history("an open quote", b'phase,epoch,lr,train_loss\n"train,1,0.1,0.5\n')


def study(name: str, text: bytes, *words: str) -> None:
    def build(inside: Path) -> Act:
        (inside / "study").mkdir()
        write(inside / "study/values.csv", text)
        write(inside / "study/arrays.npz", npz(x=np.zeros(3)))
        return Act(
            ["report", "study-figure", "inference_time", "--folder", "study", "--svg", "x.svg", "--png", "x.png"],
            inside,
        )

    CASES.append(Case(METRICS, f"study: {name}", build, ("values.csv", *words)))


study("0 bytes", b"", "not a table")
study("other columns", b"a\n1\n", "not a table")
study("a value of text", b"study,arm,seed,metric,value\ns,a,0,m,high\n", "high")
study("no UTF-8", b"\xff\xfe", "not a table")
study("an arm that is a formula", b"study,arm,seed,metric,value\ns,=1+1,0,m,1\n", "arm", "=1+1")
study("a value of infinity", b"study,arm,seed,metric,value\ns,a,0,m,inf\n", "finite")
for title, make in {"a pickle": lambda i: npz(x=objects(i)), "text": lambda i: b"text", "a bomb": lambda i: npz(
        x=shaped("(1000000000000,)"))}.items():  # fmt: skip

    def build_arrays(inside: Path, make: Callable[[Path], bytes] = make) -> Act:
        (inside / "study").mkdir()
        write(inside / "study/values.csv", "study,arm,seed,metric,value\ns,a,0,m,1\n")
        write(inside / "study/arrays.npz", make(inside))
        return Act(
            ["report", "study-figure", "cnc_toy", "--folder", "study", "--svg", "x.svg", "--png", "x.png"], inside
        )

    CASES.append(Case(METRICS, f"study: arrays that are {title}", build_arrays, ("arrays.npz",)))

VERDICTS = "paper,claim,benchmark,verdict,effect,low,high\ntoy,c0,toy,open,0.1,0.0,0.2\n"


def verdicts(name: str, text: bytes, *words: str) -> None:
    def build(inside: Path) -> Act:
        for release, content in (("one", VERDICTS.encode()), ("two", text)):
            (inside / release / "results").mkdir(parents=True)
            write(inside / release / "results/verdicts.csv", content)
        return Act(["compare", "one", "two"], inside)

    CASES.append(Case(METRICS, f"verdicts: {name}", build, ("verdicts.csv", *words)))


verdicts("0 bytes", b"")
verdicts("no UTF-8", b"\xff\xfe\x00")
verdicts("other columns", b"a,b\n1,2\n", "has no columns")
verdicts("an effect of text", VERDICTS.replace("0.1", "large").encode(), "effect")
verdicts("a claim twice", (VERDICTS + VERDICTS.split("\n")[1] + "\n").encode(), "twice")
verdicts("a line that is too long", (VERDICTS + "a,b,c,d,1,2,3,4,5,6\n").encode())
verdicts("an open quote", VERDICTS.replace("toy,c0", '"toy,c0').encode())
verdicts("an unknown verdict", VERDICTS.replace("open", "<script>alert(1)</script>").encode(), "verdict")
command(METRICS, "verdicts: none", ("nowhere does not exist", "published releases"), "compare", "nowhere", "nowhere")
