"""What decides the models and predictions of a benchmark: definitions that can be compared between suites.

A benchmark has two definitions. The training definition covers what a model is trained and monitored on: the training,
validation, test and auxiliary splits, their preparation and the label noise. The prediction definition also covers the
OOD sets, attacks, corruptions and occlusions, and which outputs are stored. A run's definition is everything else that
a training depends on: method, settings, backbone, precision and root seed.

An experiment that predicts more (an additional OOD set, say) therefore uses the models of the reproduction and has
predictions of its own. One that only adds methods, seeds, or detectors of logits shares all that exists; its scores and
metrics are its own, because those of every suite are below the suite's results.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from reprood.config.benchmark import Benchmark
from reprood.config.families import expand
from reprood.config.folders import RUNS, SUFFIX, Folders
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.core.mappings import merged
from reprood.detectors import registry as detectors

LARGEST = 1e9  # of a number in the settings
PREDICTED_EVALUATIONS = ("localisation", "segmentation")  # evaluations for which predictions hold columns of their own


def layered(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings, the last one first; a layer with another backbone drops the options of the one before."""
    backbone: dict[str, Any] = {}
    for layer in settings:
        own = layer.get("backbone") or {}
        if not isinstance(own, Mapping):
            raise ReproodError(f"The setting backbone is {own!r}; expected a mapping with the name of a network.")
        replaced = "name" in own and own["name"] != backbone.get("name")
        backbone = dict(own) if replaced else merged(backbone, own)
    result = merged(*settings)
    return {**result, "backbone": backbone} if backbone else result


def training_definition(benchmark: Benchmark) -> str:
    """Return what the models of a benchmark are trained and monitored on, as canonical JSON."""
    splits = {
        name: source.model_dump(mode="json")
        for name, source in benchmark.splits().items()
        if benchmark.role(name) != "ood"
    }
    record = benchmark.model_dump(mode="json", include={"preparation", "label_noise"})
    return canonical_json({"splits": splits, "auxiliary": list(benchmark.auxiliary), **record})


def stored_outputs(benchmark: Benchmark) -> dict[str, Any]:
    """Return what predictions of a benchmark hold besides the logits of its test splits.

    Returns
    -------
    dict
        `train`: whether outputs of the training split are stored, for detectors that are fitted on them; `features`:
        whether features are stored;
        `passes`: further forward passes; `evaluations`: those with columns or maps of their own.
    """
    inputs = detectors.inputs_of(benchmark.detectors)
    return {
        "train": benchmark.features or bool(inputs & detectors.TRAIN),
        "features": benchmark.features or bool(inputs & detectors.FEATURES),
        "passes": detectors.passes_of(benchmark.detectors),
        "evaluations": [name for name in PREDICTED_EVALUATIONS if name in benchmark.evaluations],
    }


def conditions(benchmark: Benchmark) -> dict[str, Any]:
    """Return the attacks, occlusions, mixtures, corruptions and the reading of boxes of a benchmark as JSON values."""
    record = benchmark.model_dump(mode="json", include={"attacks", "occlusion"})
    if benchmark.between is not None:
        record["between"] = benchmark.between.model_dump(mode="json")
    if "localisation" in benchmark.evaluations:
        record["localisation"] = benchmark.localisation.model_dump(mode="json")
    corruption = benchmark.corruption
    if corruption is not None:
        record["corruption"] = corruption.model_dump(mode="json", exclude={"baseline"})
    return record


def prediction_definition(benchmark: Benchmark) -> str:
    """Return what the predictions of a benchmark are computed from, and what they hold, as canonical JSON."""
    splits = {name: source.model_dump(mode="json") for name, source in benchmark.splits().items()}
    return canonical_json(
        {
            "training": training_definition(benchmark),
            "splits": splits,
            "detection": "detection" in benchmark.evaluations,  # else OOD sets are not predicted
            **stored_outputs(benchmark),
            **conditions(benchmark),
        }
    )


def run_settings(suite: Suite, benchmark: str, method: str) -> dict[str, Any]:
    """Return what a training depends on besides its data, seed and code."""
    return _run_settings(suite, suite.benchmarks[benchmark], method)


def _run_settings(suite: Suite, record: Benchmark, method: str) -> dict[str, Any]:
    arm = suite.methods[method]
    settings = layered(suite.settings, record.settings, arm.set)
    backbone = dict(settings.pop("backbone", None) or {})
    return {
        "suite_seed": suite.suite_seed,
        "use": arm.use,
        "settings": settings,
        "backbone": backbone,
        "precision": suite.precision,
        "auxiliary": list(record.auxiliary),
    }


def _digest(definition: str) -> str:
    return hashlib.sha256(definition.encode()).hexdigest()[:8]


def _counterpart(other: Suite, name: str, own: Benchmark) -> Benchmark | None:
    """Return the benchmark of another suite with this name; a random split is drawn even if no replicate uses it."""
    if name in other.benchmarks or own.replicate is None or own.family not in other.drawn:
        return other.benchmarks.get(name)
    drawn = expand(own.family, other.drawn[own.family], [own.replicate])
    return Benchmark.model_validate(drawn[name]) if name in drawn else None


def experiment_folders(suite: Suite, reproductions: Iterable[Suite], evaluated: str = RUNS) -> Folders:
    """Return the folders of a suite that is no reproduction: with a suffix wherever a definition differs.

    Parameters
    ----------
    suite : Suite
        The experiment.
    reproductions : iterable of Suite
        The committed suites; they agree wherever they share a name.
    evaluated : str
        Folder of the runs' scores and metrics.
    """
    training: dict[str, str] = {}
    benchmarks: dict[str, str] = {}
    methods: dict[str, str] = {}
    pairs = dict.fromkeys((benchmark, method) for benchmark, method, _ in suite.jobs())
    for other in reproductions:
        committed = {name: _counterpart(other, name, own) for name, own in suite.benchmarks.items()}
        shared = {name: record for name, record in committed.items() if record is not None}
        for name, record in shared.items():
            for define, folders in ((training_definition, training), (prediction_definition, benchmarks)):
                definition = define(suite.benchmarks[name])
                if definition != define(record):
                    folders[name] = f"{name}{SUFFIX}{_digest(definition)}"
        arms = {(place, method) for place, method, _ in other.replicated()}
        for benchmark, method in pairs:
            if benchmark in shared and (shared[benchmark].family or benchmark, method) in arms:
                settings = canonical_json(run_settings(suite, benchmark, method))
                if settings != canonical_json(_run_settings(other, shared[benchmark], method)):
                    methods[f"{benchmark}/{method}"] = f"{method}{SUFFIX}{_digest(settings)}"
    return Folders(
        benchmarks=dict(sorted(benchmarks.items())),
        training=dict(sorted(training.items())),
        methods=dict(sorted(methods.items())),
        evaluated=evaluated,
    )


def check_numbers(value: Any, where: str, key: str = "") -> None:
    """Reject numbers that no setting has: a typing error that would train for years.

    Raises
    ------
    ReproodError
        One sentence that names the key.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            check_numbers(inner, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            check_numbers(inner, where, key)
    elif isinstance(value, int | float) and abs(value) > LARGEST:
        raise ReproodError(f"{where}: {key} is {value:.3g}; no setting is larger than {LARGEST:g}: correct it.")
