"""The parameters of every job as text, and how jobs are run, for the Snakefile. Nothing here imports torch."""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reprood.config.external import EXTERNAL
from reprood.config.suite import RunGroup
from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json, read_json
from reprood.core.gpus import usable_gpus
from reprood.core.process import CHECKPOINT_SECONDS, DEVICE, MIRRORS, OFFLINE, PRELOADED, TRACKER
from reprood.core.registry import module_name
from reprood.data.entries import is_streamed
from reprood.detectors import registry as detectors
from reprood.images.registry import corruption_module, style_module
from reprood.pipeline.definitions import conditions, layered, stored_outputs
from reprood.pipeline.fingerprint import code_hash, packages
from reprood.pipeline.layout import once
from reprood.pipeline.outputs import EVALUATED_FILES as EVALUATED_FILES
from reprood.pipeline.outputs import MODEL_FILES as MODEL_FILES
from reprood.pipeline.outputs import PREDICTED_FILES as PREDICTED_FILES
from reprood.pipeline.outputs import SPLIT_FILES as SPLIT_FILES
from reprood.pipeline.outputs import STUDY_FILES as STUDY_FILES
from reprood.pipeline.outside import outside_of
from reprood.pipeline.streamed import PACKAGES, StreamedRuns
from reprood.report.palette import palette_of

EVALUATION = "reprood.evaluate.run"
NETWORK_PACKAGES = ("timm", "torchvision")  # networks
STUDY_PACKAGES = (*NETWORK_PACKAGES, "pycocotools", "pycocoevalcap")  # networks and metrics of studies


class Plan(StreamedRuns):
    """The parameters of the rules for a suite on a catalogue; see `Layout`."""

    # Parameters of the rules: each is ONE text, because Snakemake compares parameters as a set of values.

    def dataset_parameters(self, dataset: str) -> str:
        """Return the catalogue entry."""
        return canonical_json(self.catalogue[dataset].model_dump(mode="json"))

    def split_parameters(self, benchmark: str, split: str) -> str:
        """Return source rows, preparation and role of a benchmark's split."""
        record = self.benchmark(benchmark)
        noise = record.label_noise if split == "train" else None
        return canonical_json(
            {
                "name": split,
                "role": record.role(split),
                "label_noise": None if noise is None else noise.model_dump(mode="json"),
                "source": self.source(benchmark, split).model_dump(mode="json", exclude={"shift", "extra"}),
                "preparation": record.preparation.model_dump(mode="json"),
            }
        )

    def split_entries(self, benchmark: str, split: str) -> tuple[str, ...]:
        """Return the entries of a split's fingerprint: its preparation, and its style if it has one."""
        source = self.source(benchmark, split)
        if is_streamed(self.catalogue[source.dataset], source.split):
            return ("reprood.data.streamed",)
        style = source.style
        return "reprood.data.benchmark", *([style_module(style)] if style else [])

    def split_code(self, benchmark: str, split: str) -> str:
        """Return the fingerprint of the preparation of a split."""
        return code_hash(*self.split_entries(benchmark, split))

    def corrupted_entries(self, benchmark: str) -> tuple[str, ...]:
        """Return the entries of the fingerprint of corrupted test images: the corruptions that a benchmark uses."""
        corruption = self.benchmark(benchmark).corruption
        return "reprood.data.corrupt", *map(corruption_module, corruption.names if corruption else ())

    def corrupted_code(self, benchmark: str) -> str:
        """Return the fingerprint of a benchmark's corrupted test images."""
        return code_hash(*self.corrupted_entries(benchmark))

    def corrupted_parameters(self, benchmark: str) -> str:
        """Return which corruptions are applied, how strong, and to how many images."""
        made = self.benchmark(benchmark).corruption
        return canonical_json({} if made is None else made.model_dump(mode="json", exclude={"baseline"}))

    def frost_set(self, benchmark: str) -> str:
        """Return the auxiliary set whose photographs the corrupted test images need; "" for none."""
        made = self.benchmark(benchmark).corruption
        return "" if made is None else made.frost_set

    def corrupted_sources(self, benchmark: str) -> list[str]:
        """Return the splits that the corrupted test images are created from."""
        frost = self.frost_set(benchmark)
        return ["test", *([frost] if frost else [])]

    def lint_parameters(self, benchmark: str) -> str:
        """Return what the linter checks."""
        keys = {"preparation", "train", "validation", "test", "ood", "auxiliary", "allow"}
        record = self.benchmark(benchmark).model_dump(mode="json", include=keys)
        classifies = "classification" in self.benchmark(benchmark).evaluations
        names = {"name": benchmark, "title": benchmark, "classifies": classifies}
        return canonical_json({**names, **record, "evaluations": ["classification"]})

    @once
    def evaluate_parameters(self, benchmark: str) -> str:
        """Return the benchmark's record, without what only training uses, and its runs with their folders."""
        record = self.benchmark(benchmark).model_dump(mode="json", exclude={"settings", "features"})
        jobs = [(method, seed) for _, method, seed in self.jobs_of(benchmark)]
        files = PREDICTED_FILES[0], EVALUATED_FILES[0]
        runs = [[*job, *(str(Path(self.run_file(benchmark, *job, name)).parent) for name in files)] for job in jobs]
        return canonical_json({"name": benchmark, "runs": runs, **record})

    @once
    def evaluate_code(self, benchmark: str) -> str:
        """Return the fingerprints of the metrics and of each detector of a benchmark, as one JSON text."""
        used = sorted({detectors.ALWAYS, *self.benchmark(benchmark).detectors})
        return canonical_json(
            {
                "metrics": code_hash(EVALUATION),
                "detectors": {name: code_hash(detectors.module_name(name)) for name in used},
            }
        )

    def scored_key(self, benchmark: str) -> str:
        """Return a text that changes when a score of a benchmark would be computed otherwise."""
        code = json.loads(self.evaluate_code(benchmark))["detectors"]
        return hashlib.sha256(canonical_json([code, self.benchmark(benchmark).detectors]).encode()).hexdigest()[:16]

    def evaluated_files(self, benchmark: str) -> list[str]:
        """Return what the evaluation of a benchmark reads of its runs.

        Features are among them if a detector reads them, except those of runs that were taken over from a release with
        the scores of the same detectors: a release does not hold features, and a compact one no logits either
        (`reprood.evidence.restore`). If these detectors have changed, the runs need their weights: they are made again.
        """
        names = [PREDICTED_FILES[0], *(PREDICTED_FILES[1:] if self.stores_features(benchmark) else ())]
        found = []
        for job in (job for job in self.jobs if job[0] == benchmark):
            key = self.restored.get("/".join(map(str, job)))
            again = [*names, "model.safetensors"] if key else names
            found += [self.run_file(*job, name) for name in (names[:1] if key == self.scored_key(benchmark) else again)]
        return found

    @cached_property
    def restored(self) -> dict[str, str]:
        """Return the runs that were taken over from a release with their scores -> `scored_key` then."""
        path = self.work / self.results / "restored.json"
        return dict(read_json(path)) if path.is_file() else {}

    def evaluate_entries(self, benchmark: str) -> tuple[str, ...]:
        """Return the modules whose code an evaluation depends on: the metrics and the benchmark's detectors."""
        return EVALUATION, *self.detector_modules(benchmark)

    def train_parameters(self, benchmark: str, method: str, seed: int) -> str:
        """Return all settings of a training."""
        names = {"benchmark": benchmark, "method": method, "seed": seed}
        return canonical_json(names | self.run_settings(benchmark, method))

    def example_records(self, benchmark: str) -> str:
        """Return the training settings of each method of a benchmark (first seed) or family (first member)."""
        place = self.first_member(benchmark)
        jobs = [job for job in self.jobs_of(benchmark) if not self.is_external(job[1])]
        firsts = {method: seed for _, method, seed in reversed(jobs)}
        return canonical_json({m: json.loads(self.train_parameters(place, m, seed)) for m, seed in firsts.items()})

    def example_entries(self, benchmark: str) -> tuple[str, ...]:
        """Return the entries of the fingerprint of a benchmark's examples: every method's module."""
        uses = sorted({self.arm(m).use for m in self.methods_of(benchmark) if not self.is_external(m)})
        return "reprood.train.examples", *(module_name("methods", use) for use in uses)

    @once
    def example_code(self, benchmark: str) -> str:
        """Return the fingerprint of a benchmark's examples."""
        return code_hash(*self.example_entries(benchmark))

    @once
    def predict_parameters(self, benchmark: str, method: str) -> str:
        """Return the splits in order, the outputs that are stored besides logits, and the conditions."""
        record = self.benchmark(benchmark)
        stored = {name: value for name, value in stored_outputs(record).items() if name != "train"}
        return canonical_json({"splits": self.predicted_splits(benchmark, method), **stored, **conditions(record)})

    @once
    def study_parameters(self, name: str) -> str:
        """Return all settings of a study, and what it reads outside of the workflow."""
        study = self.suite.studies[name]
        named = bool(study.benchmark)
        seeds = self.study_seeds(name)
        layers = layered(self.suite.settings, self.benchmark(study.benchmark).settings) if named else {}
        places = {seed: self.suite.place(study.benchmark, seed) for seed in seeds} if named else {}
        outliers = {"ood": list(self.benchmark(study.benchmark).ood)} if named and study.ood else {}
        without = {"data": False} if named and not study.data else {}
        return canonical_json(
            {
                **outliers,
                **without,
                **outside_of(study.set, self.work, self.root / "state" / "own"),
                "name": name,
                "use": study.use,
                "set": study.set,
                "seeds": list(seeds),
                "suite_seed": self.suite.suite_seed,
                "benchmarks": [places[seed] for seed in seeds] if named else [],
                "methods": list(study.methods),
                "backbone": dict(layers.get("backbone") or {}),
                "auxiliary": list(self.benchmark(study.benchmark).auxiliary) if named and study.data else [],
                "folders": self.folders.model_dump(mode="json", exclude_defaults=True, exclude={"evaluated"})
                if named
                else {},
            }
        )

    def study_entries(self, name: str) -> tuple[str, ...]:
        """Return the entries of a study's fingerprint: its module, the methods and networks whose models it reads."""
        study = self.suite.studies[name]
        methods = sorted({module_name("methods", self.arm(method).use) for method in study.methods})
        place = self.suite.place(study.benchmark, self.study_seeds(name)[0]) if study.benchmark else ""
        networks = sorted({module_name("nets", self.backbone(place, m)["name"]) for m in study.methods})
        return "reprood.studies.run", f"reprood.studies.{study.use}", *methods, *networks

    def study_code(self, name: str) -> str:
        """Return the fingerprint of a study."""
        return code_hash(*self.study_entries(name))

    def study_environment(self, name: str) -> str:
        """Return the versions of the packages on which a study depends; without one, the study itself stops."""
        used = packages(*(entry for entry in self.study_entries(name) if not entry.startswith("reprood.methods.")))
        further = sorted(used & {*STUDY_PACKAGES})
        return environment("torch", "numpy", *(package for package in further if find_spec(package)))

    def drawing_entries_of(self, benchmark: str) -> tuple[str, ...]:
        """Return the entries of the fingerprint of a benchmark's figures and tables."""
        modules = *self.figure_modules(benchmark), *self.table_modules(benchmark), *self.detector_modules(benchmark)
        return "reprood.report.draw", *modules

    def drawing_code_of(self, benchmark: str) -> str:
        """Return the fingerprint of a benchmark's figures and tables."""
        return code_hash(*self.drawing_entries_of(benchmark))

    def drawing_entries(self, name: str) -> tuple[str, ...]:
        """Return the entries of the fingerprint of a study's figure."""
        return "reprood.report.study_figures", f"reprood.report.studies.{self.suite.studies[name].use}"

    def drawing_code(self, name: str) -> str:
        """Return the fingerprint of a study's figure."""
        return code_hash(*self.drawing_entries(name))

    def drawing_parameters(self, name: str) -> str:
        """Return the module that draws a study."""
        return self.suite.studies[name].use

    @once
    def drawing_suite(self, benchmark: str) -> str:
        """Return the part of the suite that the figures and tables of a benchmark or family show, and the colours."""
        methods = {name: self.arm(name) for name in self.suite.methods if name in self.methods_of(benchmark)}
        seeds = {method: tuple(s for _, m, s in self.jobs_of(benchmark) if m == method) for method in methods}
        colours = self.suite.palette or palette_of(self.suite)
        names = self.suite.places()[benchmark]
        changes = {
            "title": self.name,
            "note": "",
            "benchmarks": {name: self.suite.benchmarks[name] for name in names},
            "drawn": {family: record for family, record in self.suite.drawn.items() if family == benchmark},
            "methods": methods,
            "runs": tuple(RunGroup(benchmark=benchmark, methods=(m,), seeds=s) for m, s in seeds.items()),
            "studies": {},
            "judge": {},
            "evidence": None,
            "replicates": {},
            "palette": {method: colours[method] for method in methods},
            "name": self.name,
            "folders": self.folders.only(*names),
        }
        record = self.suite.model_copy(update=changes).model_dump(mode="json", exclude={"settings"})
        return json.dumps(record, separators=(",", ":"), ensure_ascii=False)

    def suite_parameters(self) -> str:
        """Return what the audit and the report need to know of the suite (not its runs' settings, nor defaults)."""
        suite = self.suite.model_dump(mode="json", exclude={"settings", "name", "folders"}, exclude_defaults=True)
        folders = self.folders.model_dump(mode="json", exclude_defaults=True)
        record = {"name": self.name, **suite, "folders": folders}
        # In the suite's own order, which is the order of the tables.
        return json.dumps(record, separators=(",", ":"), ensure_ascii=False)

    def entries_of(self, benchmark: str, method: str, *entries: str) -> tuple[str, ...]:
        """Return the entries of a run's fingerprint: the given ones, the method's module and the network's module."""
        if self.is_external(method):
            return *entries, module_name("methods", EXTERNAL), *self.given_network(method)
        network = self.backbone(benchmark, method)["name"]
        return *entries, module_name("methods", self.arm(method).use), module_name("nets", network)

    @once
    def code_of(self, benchmark: str, method: str, *entries: str) -> str:
        """Return the fingerprint of a run's training or prediction."""
        return code_hash(*self.entries_of(benchmark, method, *entries))

    def run_environment(self, benchmark: str, method: str) -> str:
        """Return the versions of the packages on which a run depends: also of the one that holds its network."""
        if self.is_external(method):
            used = {str(self.arm(method).set.get("network", "")).partition(":")[0]}
        else:
            used = {*packages(module_name("nets", self.backbone(benchmark, method)["name"]))}
        further = used & {*NETWORK_PACKAGES} | {*(PACKAGES if self.streams(benchmark) else ())}
        return environment("torch", "numpy", *sorted(further))

    @property
    def preload_socket(self) -> str:
        """Socket of this Snakemake process' server with preloaded libraries (see `reprood.cli.preload`)."""
        return f".snakemake/preload-{os.getpid()}.socket"

    def shell_prefix(self) -> str:
        """Put this Python first on PATH and export how to run (not what to run): neither is a trigger."""
        values = {
            MIRRORS: "\n".join(self.settings.mirrors),
            OFFLINE: "1" if self.settings.offline else "",
            DEVICE: self.settings.device,
            CHECKPOINT_SECONDS: f"{self.settings.checkpoint_seconds:g}",
            TRACKER: self.settings.tracker,
            PRELOADED: self.preload_socket,
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        exports = "".join(f"export {key}={shlex.quote(value)}; " for key, value in values.items())
        return f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; {exports}"

    def signing_option(self) -> str:
        """Return the option that signs a release, as text for a shell; empty without a key."""
        key = self.settings.signing_key
        return f"--sign {shlex.quote(key)}" if key else ""

    def datasets_option(self) -> str:
        """Return the option with the user's own data sets, as text for a shell; empty without any."""
        own = self.settings.datasets
        return f"--datasets {shlex.quote(canonical_json(own))}" if own else ""

    def selection_option(self) -> str:
        """Return the options that select the part of the suite, as text for a shell; empty without a selection."""
        chosen = self.settings.selection.model_dump(mode="json", exclude_defaults=True)
        return " ".join(f"--config {shlex.quote(f'{key}={canonical_json(value)}')}" for key, value in chosen.items())

    def gpus(self) -> int:
        """Return the GPUs that a training requests: 1 if it will use one, else 0 (found without importing torch)."""
        device = self.settings.device
        return 1 if device == "cuda" or usable_gpus(device) else 0


def code(*entries: str) -> Callable[[Any], str]:
    """Return a parameter function: the fingerprint of modules whose names may contain wildcards."""

    def fingerprint(wildcards: Any) -> str:
        return code_hash(*(entry.format(**wildcards) for entry in entries))

    return fingerprint


def environment(*packages: str) -> str:
    """Return public versions of the packages that a result depends on, as one text."""
    return "; ".join(f"{package} {_version(package)}" for package in packages)


@cache
def _version(package: str) -> str:
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError as error:
        raise ReproodError(f"A run needs the package {package}, which is not installed; install it.") from error
