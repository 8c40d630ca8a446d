"""Stage `evaluate`: detectors and metrics of one run after the other, from stored outputs. No torch.

Each detector has a fingerprint: the hash of its code and its options. Scores and metrics of a run are kept under
`state/` together with the fingerprints and checksums of everything they were computed from, because the workflow
removes the results before a job writes them again; what is unchanged is copied from there. A copy is byte-identical to
a new computation.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, canonical_json, read_json, sha256_file, write_json
from reprood.detectors import registry
from reprood.detectors.record import Options
from reprood.evaluate.outputs import FEATURES, has_logits, load_outputs
from reprood.evaluate.predictions import PREDICTIONS, SCORES, read_table
from reprood.evaluate.scores import Computed, compute, requested, write_scores
from reprood.evaluate.table import METRICS_FILE, evaluate_run

KEYS_FILE = "keys.json"


@dataclass(frozen=True)
class Code:
    """Fingerprints of the code: of the metrics, and of each detector. Empty: nothing is reused."""

    metrics: str = ""
    detectors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What was done for a run: how many detectors were computed and reused, and whether the metrics were."""

    computed: tuple[str, ...]
    reused: tuple[str, ...]
    metrics_reused: bool

    def __str__(self) -> str:
        """One line for the log."""
        metrics = "reused" if self.metrics_reused else "computed"
        return f"{len(self.computed)} detectors computed, {len(self.reused)} reused; metrics {metrics}"


def _key(*parts: Any) -> str:
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def evaluate_outputs(
    folder: Path,
    benchmark: Benchmark,
    benchmark_name: str,
    method: str,
    seed: int,
    *,
    out: Path | None = None,
    code: Code | None = None,
    state: Path | None = None,
) -> Done:
    """Compute the detectors and metrics of a run and write `scores.parquet` and `metrics.csv`.

    Parameters
    ----------
    folder : Path
        The run's folder, with predictions.parquet and, when a detector needs it, features.safetensors.
    benchmark : Benchmark
        With its detectors.
    benchmark_name, method, seed
        Name of the run.
    out : Path, optional
        Folder to write to; default: the run's folder.
    code : Code, optional
        Fingerprints; what has none is not reused.
    state : Path, optional
        Folder in which the results of this run are kept for reuse.

    Raises
    ------
    ReproodError
        When predictions are missing, damaged or of another run, or when a detector or a metric cannot be computed.

    Notes
    -----
    Features may be missing when `state` keeps the scores of all detectors that read them.
    """
    code, out = code or Code(), out or folder
    run = {"benchmark": benchmark_name, "method": method, "seed": seed}
    options = requested(benchmark.detectors, _classes(folder / PREDICTIONS, run))
    features = bool(registry.inputs_of(options) & registry.FEATURES)
    read = [PREDICTIONS, *([FEATURES] if features and (folder / FEATURES).is_file() else [])]
    inputs = {name: sha256_file(folder / name) for name in read}
    if features and FEATURES not in inputs:
        inputs |= _absent_features(state, inputs[PREDICTIONS])
    fingerprints, keys = _keys(options, code, inputs)
    kept = _Kept(state, inputs, keys)
    missing = [name for name in options if name not in kept.scores]
    results, rows = dict(kept.scores), kept.rows
    if missing or not rows:
        try:
            raw = load_outputs(folder, features=bool(registry.inputs_of(missing) & registry.FEATURES))
            results.update({name: compute(name, options[name], raw) for name in missing})
        except ReproodError as error:
            raise ReproodError(f"{folder}: {error}") from error
        rows = {split: len(outputs.logits) for split, outputs in raw.splits.items()}
    _write(out / SCORES, rows, {name: results[name] for name in options}, options, {**run, **inputs}, fingerprints)

    metrics_key = _metrics_key(benchmark, run, code, keys, inputs) if len(keys) == len(options) else ""
    reuse = bool(metrics_key) and kept.metrics_key == metrics_key
    if reuse:
        with atomic_path(out / METRICS_FILE) as temporary:
            temporary.write_bytes(kept.metrics)
    else:
        evaluate_run(folder, benchmark, benchmark_name, method, seed, out / METRICS_FILE, out)
    if state is not None:
        _keep(state, out, {"inputs": inputs, "rows": list(rows.items()), "metrics": metrics_key}, keys, results)
    return Done(tuple(missing), tuple(name for name in options if name not in missing), reuse)


def _keys(
    options: Mapping[str, Options], code: Code, inputs: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return each detector's fingerprint, and the key of its scores if its code is known."""
    fingerprints = {name: _key(code.detectors.get(name, ""), chosen.model_dump()) for name, chosen in options.items()}
    known = [name for name in options if code.detectors.get(name)]
    return fingerprints, {name: _key(fingerprints[name], version("numpy"), inputs) for name in known}


def _metrics_key(
    benchmark: Benchmark, run: Mapping[str, Any], code: Code, keys: Mapping[str, str], inputs: Mapping[str, str]
) -> str:
    """Return the key of a run's metrics; "" when their code is not known."""
    specification = benchmark.model_dump(mode="json", exclude={"settings", "detectors"})
    return _key(code.metrics, version("numpy"), specification, run, keys, inputs) if code.metrics else ""


def _absent_features(state: Path | None, predictions: str) -> dict[str, str]:
    """Return the checksum of the features that belonged to these predictions, if results of them are kept."""
    if state is None or not (state / KEYS_FILE).is_file():
        return {}
    try:
        inputs = read_json(state / KEYS_FILE)["inputs"]
        return {FEATURES: str(inputs[FEATURES])} if inputs[PREDICTIONS] == predictions else {}
    except (ReproodError, KeyError, TypeError):
        return {}  # then everything is computed


def adopt(
    folder: Path, benchmark: Benchmark, run: tuple[str, str, int], code: Code, state: Path, *, metrics: bool = False
) -> list[str]:
    """Keep the scores of a published run under `state`, as if they had been computed here.

    Detectors that were skipped there are skipped here: because the network does not allow them, or because a compact
    release does not store their scores.

    Parameters
    ----------
    folder : Path
        With predictions.parquet, scores.parquet and metrics.csv.
    benchmark : Benchmark
        With its detectors.
    run : (str, str, int)
        Benchmark, method, seed.
    code : Code
        Fingerprints; scores of other code or options are not kept.
    state : Path
        As in `evaluate_outputs`.
    metrics : bool
        Keep the metrics as well: their code and what they were computed for are those of here.

    Returns
    -------
    list of str
        The detectors whose scores could not be kept and cannot be computed: they read features, or no logits are
        stored.

    Raises
    ------
    ReproodError
        When a file is missing or damaged.
    """
    named = dict(zip(("benchmark", "method", "seed"), run, strict=True))
    classes = _classes(folder / PREDICTIONS, named)
    options = requested(benchmark.detectors, classes)
    facts, table = read_table(folder / SCORES, "evaluate", ("split", "row"))
    inputs = {name: str(facts[name]) for name in (PREDICTIONS, FEATURES) if name in facts}
    fingerprints, keys = _keys(options, code, inputs)
    results = {}
    for name in keys:
        stated = facts.get("detectors", {}).get(name, {})
        if (
            stated.get("fingerprint") == fingerprints[name][:16]
            and f"score_{registry.score_name(name)}" in table.column_names
        ):
            results[name] = Computed(table[f"score_{registry.score_name(name)}"].to_numpy(), stated["fitted"])
        elif name in facts.get("skipped", {}):
            results[name] = Computed(None, {}, facts["skipped"][name])
    rows = Counter(table["split"].to_pylist())
    known = metrics and set(results) == set(options)
    key = _metrics_key(benchmark, named, code, keys, inputs) if known else ""
    record = {"inputs": inputs, "rows": list(rows.items()), "metrics": key}
    _keep(state, folder, record, {name: keys[name] for name in results}, results)
    needed = [name for name in options if not has_logits(folder) or registry.inputs_of([name]) & registry.FEATURES]
    return [name for name in needed if name not in results]


def _classes(path: Path, run: Mapping[str, Any]) -> int:
    """Return the number of classes of a run's predictions, after a look at whose predictions they are."""
    facts, _ = read_table(path, "predict", ("split", "row"))
    stored = {key: facts[key] for key in run}
    if stored != run:
        names = ["/".join(map(str, values.values())) for values in (stored, run)]
        raise ReproodError(f"{path} holds the run {names[0]}, not {names[1]}; predict it again.")
    classes = facts.get("classes")
    if not isinstance(classes, int):
        raise ReproodError(f"{path}: in its metadata 'classes' is missing or of another kind; predict it again.")
    return classes


def _write(
    path: Path,
    rows: Mapping[str, int],
    results: Mapping[str, Computed],
    options: Mapping[str, Options],
    facts: Mapping[str, Any],
    fingerprints: Mapping[str, str],
) -> None:
    """Write the scores, with each detector's options, fingerprint and fitted numbers."""
    scores = {name: result.values for name, result in results.items() if result.values is not None}
    detectors = {
        name: {
            "options": options[name].model_dump(mode="json"),
            "fingerprint": fingerprints[name][:16],
            "fitted": dict(results[name].fitted),
        }
        for name in scores
    }
    skipped = {name: result.skipped for name, result in results.items() if result.skipped}
    write_scores(path, rows, scores, {**facts, "detectors": detectors, "skipped": skipped})


class _Kept:
    """What is kept of an earlier evaluation of a run; empty when it is missing, damaged, or of other inputs."""

    def __init__(self, state: Path | None, inputs: Mapping[str, str], keys: Mapping[str, str]) -> None:
        self.scores: dict[str, Computed] = {}
        self.rows: dict[str, int] = {}
        self.metrics_key, self.metrics = "", b""
        if state is None or not (state / KEYS_FILE).is_file():
            return
        try:
            record = read_json(state / KEYS_FILE)
            intact = all(sha256_file(state / name) == digest for name, digest in record["files"].items())
            if not intact or record["inputs"] != inputs:
                return
            table = pq.read_table(state / SCORES)
            self.rows = {str(split): int(count) for split, count in record["rows"]}
            for name, entry in record["detectors"].items():
                if name in keys and entry["key"] == keys[name]:
                    column = None if entry["skipped"] else table[f"score_{registry.score_name(name)}"].to_numpy()
                    self.scores[name] = Computed(column, dict(entry["fitted"]), str(entry["skipped"]))
            self.metrics_key, self.metrics = str(record["metrics"]), (state / METRICS_FILE).read_bytes()
        except (ReproodError, pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError):
            self.scores, self.rows, self.metrics_key = {}, {}, ""  # then everything is computed


def _keep(
    state: Path, out: Path, record: Mapping[str, Any], keys: Mapping[str, str], results: Mapping[str, Computed]
) -> None:
    """Keep the results of a run; the file of keys is written last and holds the checksums of the others."""
    files = {}
    for name in (SCORES, METRICS_FILE):
        with atomic_path(state / name) as temporary:
            temporary.write_bytes((out / name).read_bytes())
        files[name] = sha256_file(state / name)
    detectors = {
        name: {"key": key, "fitted": dict(results[name].fitted), "skipped": results[name].skipped}
        for name, key in keys.items()
    }
    write_json(state / KEYS_FILE, {**record, "detectors": detectors, "files": files})
