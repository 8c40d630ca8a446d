"""What decides the results of a benchmark and of a run: definitions that can be compared between suites.

A benchmark has two definitions. The training definition covers what a model is trained and monitored on: the training,
validation, test and auxiliary splits, their preparation and the label noise. The full definition is the whole record
except its training settings, so it also covers OOD sets, attacks, corruptions, detectors and the texts of the report. A
run's definition is everything else that a training depends on: method, settings, backbone, precision and root seed.

An experiment that changes only the evaluation of a benchmark (an additional OOD set, say) therefore uses the models of
the reproduction and has predictions of its own; one that only adds methods or seeds shares all that exists.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from reprood.config.benchmark import Benchmark
from reprood.config.folders import SUFFIX, Folders
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.core.mappings import merged


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


def benchmark_definition(benchmark: Benchmark) -> str:
    """Return everything of a benchmark but its training settings, as canonical JSON."""
    return canonical_json(benchmark.model_dump(mode="json", exclude={"settings"}))


def run_settings(suite: Suite, benchmark: str, method: str) -> dict[str, Any]:
    """Return what a training depends on besides its data, seed and code."""
    record, arm = suite.benchmarks[benchmark], suite.methods[method]
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


def experiment_folders(suite: Suite, reproductions: Iterable[Suite]) -> Folders:
    """Return the folders of a suite that is no reproduction: with a suffix wherever a definition differs.

    Parameters
    ----------
    suite : Suite
        The experiment.
    reproductions : iterable of Suite
        The committed suites; they agree wherever they share a name.
    """
    training: dict[str, str] = {}
    benchmarks: dict[str, str] = {}
    methods: dict[str, str] = {}
    pairs = dict.fromkeys((benchmark, method) for benchmark, method, _ in suite.jobs())
    for other in reproductions:
        for name in suite.benchmarks.keys() & other.benchmarks.keys():
            own, committed = suite.benchmarks[name], other.benchmarks[name]
            for define, folders in ((training_definition, training), (benchmark_definition, benchmarks)):
                definition = define(own)
                if definition != define(committed):
                    folders[name] = f"{name}{SUFFIX}{_digest(definition)}"
        for benchmark, method in pairs.keys() & {(benchmark, method) for benchmark, method, _ in other.jobs()}:
            settings = canonical_json(run_settings(suite, benchmark, method))
            if settings != canonical_json(run_settings(other, benchmark, method)):
                methods[f"{benchmark}/{method}"] = f"{method}{SUFFIX}{_digest(settings)}"
    return Folders(
        benchmarks=dict(sorted(benchmarks.items())),
        training=dict(sorted(training.items())),
        methods=dict(sorted(methods.items())),
    )
