"""What the Snakefile asks: which runs, which files, which parameters. No torch, no work done here."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reprood import resolve
from reprood.config import Arm, Benchmark, Source, load_settings, load_suite, merged
from reprood.data.catalogue import DatasetEntry, load_catalogue
from reprood.detectors.names import FITTED_ON_TRAIN
from reprood.errors import ReproodError
from reprood.files import canonical_json
from reprood.fingerprint import PACKAGE, code_hash
from reprood.kinds import OF_DATA, figures_of, page_names, tables_of
from reprood.lease import devices_for
from reprood.outputs import MODEL_FILES as MODEL_FILES
from reprood.outputs import SPLIT_FILES as SPLIT_FILES
from reprood.outputs import STUDY_FILES as STUDY_FILES
from reprood.warm import VARIABLE


class Plan:
    """A suite on a catalogue: every question the rules have, answered from the configuration.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration (`config/config.yaml` plus the command line's).
    root : Path
        The checkout: where `config/` and `src/` are.

    Raises
    ------
    ReproodError
        When the configuration is wrong, or when `reprood` is imported from another checkout.
    """

    def __init__(self, config: Mapping[str, Any], root: Path) -> None:
        if PACKAGE.parent.parent.resolve() != root.resolve():
            raise ReproodError(
                f"The installed package reprood comes from {PACKAGE.parent.parent}, not from this checkout ({root}); "
                "run `make environment` here, or activate this checkout's environment."
            )
        self.root = root
        self.settings = load_settings(config)
        self.suite = load_suite(self.settings.suite, root)
        self.catalogue: dict[str, DatasetEntry] = load_catalogue(
            [root / "config" / "datasets.yaml"], dict(self.settings.datasets)
        )
        self.jobs = tuple(self.suite.jobs())
        self.benchmarks = tuple(dict.fromkeys(benchmark for benchmark, _, _ in self.jobs))
        self._check()

    def _check(self) -> None:
        """Every name that the suite uses exists."""
        where = f"Suite '{self.settings.suite}'"
        for name in self.benchmarks:
            made = self.benchmark(name).corruption
            if made is not None and made.baseline and made.baseline not in self.methods_of(name):
                raise ReproodError(
                    f"{where}: benchmark {name}: corruption.baseline is '{made.baseline}', which does not run on it; "
                    "name one of its methods or leave it out."
                )
            for split, source in self.benchmark(name).splits().items():
                entry = self.catalogue.get(source.dataset)
                if entry is None:
                    raise ReproodError(
                        f"{where}: benchmark {name}, split {split}: there is no data set '{source.dataset}'; "
                        f"known: {', '.join(sorted(self.catalogue))}."
                    )
                if source.split not in entry.splits:
                    raise ReproodError(
                        f"{where}: benchmark {name}, split {split}: the data set '{source.dataset}' has no split "
                        f"'{source.split}'; it has: {', '.join(entry.splits)}."
                    )
        for name, arm in self.suite.methods.items():
            if arm.use not in resolve.methods():
                raise ReproodError(
                    f"{where}: method {name}: there is no module '{arm.use}' in reprood.methods; "
                    f"known: {', '.join(resolve.methods())}."
                )
        for name, study in self.suite.studies.items():
            _reasonable(study.set, f"{where}: study {name}")
            if study.use not in resolve.studies():
                raise ReproodError(
                    f"{where}: study {name}: there is no module '{study.use}' in reprood.studies; "
                    f"known: {', '.join(resolve.studies())}."
                )
        for benchmark, method, _ in self.jobs:
            _reasonable(self._layers(benchmark, method), f"{where}: {benchmark}/{method}")
            backbone = self.backbone(benchmark, method).get("name")
            if backbone not in resolve.backbones():
                raise ReproodError(
                    f"{where}: {benchmark}/{method}: backbone.name is {backbone!r}; "
                    f"expected one of {', '.join(resolve.backbones())}."
                )

    def benchmark(self, name: str) -> Benchmark:
        """A benchmark of the suite."""
        return self.suite.benchmarks[name]

    def arm(self, method: str) -> Arm:
        """A method (a row of the tables) of the suite."""
        return self.suite.methods[method]

    def source(self, benchmark: str, split: str) -> Source:
        """Where a benchmark's split comes from."""
        return self.benchmark(benchmark).splits()[split]

    def _layers(self, benchmark: str, method: str) -> dict[str, Any]:
        return layered(self.suite.settings, self.benchmark(benchmark).settings, self.arm(method).set)

    def backbone(self, benchmark: str, method: str) -> dict[str, Any]:
        """The network's name and options."""
        backbone = self._layers(benchmark, method).get("backbone") or {}
        return dict(backbone)

    def data_files(self, benchmark: str, splits: Iterable[str]) -> list[str]:
        """The files of some splits of a benchmark."""
        return [f"data/benchmarks/{benchmark}/{split}/{name}" for split in splits for name in SPLIT_FILES]

    def methods_of(self, benchmark: str) -> tuple[str, ...]:
        """The methods that run on a benchmark."""
        return tuple(dict.fromkeys(method for name, method, _ in self.jobs if name == benchmark))

    def predicted_splits(self, benchmark: str, method: str) -> list[str]:
        """What a trained model is run on: ID train (when a detector or the method's own scores are fitted on it),
        validation, test, OOD sets.
        """
        record = self.benchmark(benchmark)
        fitted = any(name in FITTED_ON_TRAIN for name in record.detectors)
        fitted = fitted or resolve.fits_on_train(self.arm(method).use)
        outliers = record.ood if "detection" in record.evaluations else ()
        return [*(["train"] if fitted else []), "validation", "test", *outliers, *self.made_splits(benchmark)]

    def made_splits(self, benchmark: str) -> list[str]:
        """Splits made from the test split."""
        return ["corrupted"] if self.benchmark(benchmark).corruption is not None else []

    def runs(self, *names: str, benchmark: str | None = None) -> list[str]:
        """The named files of every run (of one benchmark)."""
        return [f"runs/{b}/{m}/{s}/{name}" for b, m, s in self.jobs if benchmark in (None, b) for name in names]

    def summaries(self) -> list[str]:
        """One small file of metrics for each benchmark and method."""
        pairs = dict.fromkeys((benchmark, method) for benchmark, method, _ in self.jobs)
        return [f"results/summary/{benchmark}.{method}.json" for benchmark, method in pairs]

    def folders(self) -> list[str]:
        """The folders whose files the suite rests on: its data, runs, results and reports."""
        sources = dict.fromkeys(
            f"data/{source.dataset}/{source.split}"
            for name in self.benchmarks
            for source in self.benchmark(name).splits().values()
        )
        own = [f"{folder}/{name}" for name in self.benchmarks for folder in ("data/benchmarks", "runs")]
        return [*sources, *own, "results", "reports"]

    # Parameters of the rules: each is ONE text, because Snakemake compares parameters as a set of values.

    def dataset_parameters(self, dataset: str) -> str:
        """The catalogue entry."""
        return canonical_json(self.catalogue[dataset].model_dump(mode="json"))

    def split_parameters(self, benchmark: str, split: str) -> str:
        """Source rows, preparation and role of a benchmark's split."""
        record = self.benchmark(benchmark)
        noise = record.label_noise if split == "train" else None
        return canonical_json(
            {
                "name": split,
                "role": record.role(split),
                "label_noise": None if noise is None else noise.model_dump(mode="json"),
                "source": self.source(benchmark, split).model_dump(mode="json", exclude={"shift"}),
                "preparation": record.preparation.model_dump(mode="json"),
            }
        )

    def corrupted_parameters(self, benchmark: str) -> str:
        """Which corruptions, how strong, of how many images."""
        made = self.benchmark(benchmark).corruption
        return canonical_json({} if made is None else made.model_dump(mode="json", exclude={"baseline"}))

    def lint_parameters(self, benchmark: str) -> str:
        """What the linter looks at."""
        keys = {"title", "note", "preparation", "train", "validation", "test", "ood", "auxiliary", "allow"}
        record = self.benchmark(benchmark).model_dump(mode="json", include=keys)
        return canonical_json({"name": benchmark, **record, "evaluations": ["classification"]})

    def benchmark_parameters(self, benchmark: str) -> str:
        """The benchmark's record, without what only training and prediction use."""
        record = self.benchmark(benchmark).model_dump(mode="json", exclude={"settings", "detectors"})
        return canonical_json({"name": benchmark, **record})

    def train_parameters(self, benchmark: str, method: str, seed: int) -> str:
        """Everything a training job is told."""
        settings = self._layers(benchmark, method)
        settings.pop("backbone", None)
        return canonical_json(
            {
                "benchmark": benchmark,
                "method": method,
                "seed": seed,
                "suite_seed": self.suite.suite_seed,
                "use": self.arm(method).use,
                "settings": settings,
                "backbone": self.backbone(benchmark, method),
                "precision": self.suite.precision,
                "auxiliary": list(self.benchmark(benchmark).auxiliary),
            }
        )

    def example_records(self, benchmark: str) -> str:
        """The training record of each method of a benchmark (first seed)."""
        firsts = {method: seed for name, method, seed in reversed(self.jobs) if name == benchmark}
        records = {
            method: json.loads(self.train_parameters(benchmark, method, seed)) for method, seed in firsts.items()
        }
        return canonical_json(records)

    def example_code(self, benchmark: str) -> str:
        """Fingerprint of the drawing of examples and of every method's module."""
        uses = sorted({self.arm(method).use for name, method, _ in self.jobs if name == benchmark})
        return code_hash("reprood.examples", *(f"reprood.methods.{use}" for use in uses))

    def figures(self, benchmark: str) -> tuple[str, ...]:
        """The figures of a benchmark."""
        return figures_of(self.benchmark(benchmark))

    def tables(self, benchmark: str) -> tuple[str, ...]:
        """The tables of a benchmark."""
        return tables_of(self.benchmark(benchmark))

    def predict_parameters(self, benchmark: str, method: str) -> str:
        """Detectors with their options, the splits in order, and what else is asked of the model."""
        record = self.benchmark(benchmark).model_dump(
            mode="json", include={"evaluations", "corruption", "attacks", "occlusion"}
        )
        splits = self.predicted_splits(benchmark, method)
        made = self.benchmark(benchmark).corruption
        if made is not None:
            record["corruption"] = made.model_dump(mode="json", exclude={"baseline"})
        return canonical_json({"detectors": self.benchmark(benchmark).detectors, "splits": splits, **record})

    def study_seeds(self, name: str) -> tuple[int, ...]:
        """A study's replicates."""
        return self.suite.study_seeds(name)

    def study_inputs(self, name: str) -> list[str]:
        """What a study reads: the benchmark's splits and the trained models."""
        study = self.suite.studies[name]
        if not study.benchmark:
            return []
        splits = ["train", "validation", "test", *self.benchmark(study.benchmark).auxiliary]
        runs = [
            f"runs/{study.benchmark}/{method}/{seed}/{file}"
            for method in study.methods
            for seed in self.study_seeds(name)
            for file in ("model.safetensors", "model.json")
        ]
        return self.data_files(study.benchmark, splits) + runs

    def study_parameters(self, name: str) -> str:
        """Everything a study is told."""
        study = self.suite.studies[name]
        named = bool(study.benchmark)
        layers = layered(self.suite.settings, self.benchmark(study.benchmark).settings) if named else {}
        return canonical_json(
            {
                "name": name,
                "use": study.use,
                "set": study.set,
                "seeds": list(self.study_seeds(name)),
                "suite_seed": self.suite.suite_seed,
                "benchmark": study.benchmark,
                "methods": list(study.methods),
                "backbone": dict(layers.get("backbone") or {}),
                "auxiliary": list(self.benchmark(study.benchmark).auxiliary) if named else [],
            }
        )

    def study_code(self, name: str) -> str:
        """Fingerprint of the study's module and of the methods whose models it is given."""
        study = self.suite.studies[name]
        methods = sorted({f"reprood.methods.{self.arm(method).use}" for method in study.methods})
        networks = sorted({f"reprood.nets.{self.backbone(study.benchmark, m)['name']}" for m in study.methods})
        return code_hash("reprood.study", f"reprood.studies.{study.use}", *methods, *networks)

    def drawing_code(self, name: str) -> str:
        """Fingerprint of a study's figure."""
        return code_hash("reprood.report.study_figures", f"reprood.report.studies.{self.suite.studies[name].use}")

    def drawing_parameters(self, name: str) -> str:
        """The module that draws a study."""
        return self.suite.studies[name].use

    def study_files(self, *names: str) -> list[str]:
        """The named files of every study."""
        return [f"results/studies/{study}/{name}" for study in self.suite.studies for name in names]

    def baselines(self) -> list[str]:
        """Pairs benchmark=method of the benchmarks whose corruption errors are normalised by a method's."""
        made = {name: self.benchmark(name).corruption for name in self.benchmarks}
        return [f"{name}={options.baseline}" for name, options in made.items() if options and options.baseline]

    def made_files(self) -> list[str]:
        """The descriptions of splits made from test splits."""
        return [
            f"data/benchmarks/{name}/{made}/meta.json" for name in self.benchmarks for made in self.made_splits(name)
        ]

    def examples(self) -> list[str]:
        """The pictures of what methods do to images."""
        return [f"runs/{name}/examples.npz" for name in self.benchmarks if "examples" in self.figures(name)]

    def figure_files(self, *benchmarks: str) -> list[str]:
        """The figures of some benchmarks as SVG; without names those of all, and of the studies."""
        chosen = benchmarks or self.benchmarks
        files = [f"reports/figures/{name}/{kind}.svg" for name in chosen for kind in self.figures(name)]
        drawn = [name for name, study in self.suite.studies.items() if study.use in resolve.drawings()]
        return files + ([] if benchmarks else [f"reports/figures/studies/{name}.svg" for name in drawn])

    def table_files(self, *benchmarks: str) -> list[str]:
        """The tables of some benchmarks (of all without names) as CSV."""
        chosen = benchmarks or self.benchmarks
        return [f"reports/tables/{name}/{kind}.csv" for name in chosen for kind in self.tables(name)]

    def drawing_inputs(self, benchmark: str) -> list[str]:
        """What the figures and tables of a benchmark are drawn from."""
        files = self.runs("predictions.parquet", "metrics.csv", "history.csv", benchmark=benchmark)
        kinds = self.figures(benchmark)
        if any(kind in OF_DATA for kind in kinds):
            files += self.data_files(benchmark, ["test", *self.benchmark(benchmark).ood])
        return files + ([f"runs/{benchmark}/examples.npz"] if "examples" in kinds else [])

    def pages(self) -> list[str]:
        """The report's pages, below its folder."""
        return page_names([Path(path).stem for path in self.papers()], self.benchmarks, list(self.suite.studies))

    def templates(self) -> list[str]:
        """What the pages are made from."""
        folder = PACKAGE / "report" / "templates"
        return sorted(str(path.relative_to(self.root)) for path in folder.iterdir())

    def papers(self) -> list[str]:
        """The papers' files."""
        folder = self.root / "config" / "papers"
        return [f"config/papers/{path.name}" for path in sorted(folder.glob("*.yaml"))]

    def suite_parameters(self) -> str:
        """What the audit and the report need to know of the suite (not its runs' settings)."""
        suite = self.suite.model_dump(mode="json", exclude={"settings"})
        # in the suite's own order, which is the order of the tables
        return json.dumps({"name": Path(self.settings.suite).stem, **suite}, separators=(",", ":"), ensure_ascii=False)

    def code_of(self, benchmark: str, method: str, *entries: str) -> str:
        """Fingerprint of the entries, the method's module and the network's module."""
        network = self.backbone(benchmark, method)["name"]
        return code_hash(*entries, f"reprood.methods.{self.arm(method).use}", f"reprood.nets.{network}")

    @property
    def warm_socket(self) -> str:
        """Where jobs of this Snakemake process find the process that has imported everything (see `reprood.warm`)."""
        return f".snakemake/reprood-{os.getpid()}.socket"

    def shell_prefix(self) -> str:
        """Puts this Python's folder first on PATH and passes on how to run (not what): neither is a trigger."""
        values = {
            "REPROOD_MIRRORS": "\n".join(self.settings.mirrors),
            "REPROOD_OFFLINE": "1" if self.settings.offline else "",
            "REPROOD_DEVICE": self.settings.device,
            "REPROOD_CHECKPOINT_SECONDS": f"{self.settings.checkpoint_seconds:g}",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            VARIABLE: self.warm_socket,
        }
        exports = "".join(f"export {key}={shlex.quote(value)}; " for key, value in values.items())
        return f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; {exports}"

    def signing_option(self) -> str:
        """How a release is signed, as text for a shell; empty without a key."""
        key = self.settings.signing_key
        return f"--sign {shlex.quote(key)}" if key else ""

    def gpus(self) -> int:
        """GPUs that a training asks for: 1 when it will use one, else 0 (seen without importing torch)."""
        device = self.settings.device
        return 1 if device == "cuda" or devices_for(device) else 0


LARGEST = 1e9  # of a number in the settings


def _reasonable(value: Any, where: str, key: str = "") -> None:
    """Refuse numbers that no setting has: a slip that would train for years.

    Raises
    ------
    ReproodError
        One sentence that names the key.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _reasonable(inner, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            _reasonable(inner, where, key)
    elif isinstance(value, int | float) and abs(value) > LARGEST:
        raise ReproodError(f"{where}: {key} is {value:.3g}; no setting is larger than {LARGEST:g}: correct it.")


def layered(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over settings; a layer that names another network leaves no option of the one below."""
    backbone: dict[str, Any] = {}
    for layer in settings:
        own = layer.get("backbone") or {}
        if not isinstance(own, Mapping):
            raise ReproodError(f"The setting backbone is {own!r}; expected a mapping with the name of a network.")
        other = "name" in own and own["name"] != backbone.get("name")
        backbone = dict(own) if other else merged(backbone, own)
    found = merged(*settings)
    return {**found, "backbone": backbone} if backbone else found


def code(*entries: str) -> Callable[[Any], str]:
    """A parameter function: the fingerprint of modules whose names may hold wildcards."""

    def fingerprint(wildcards: Any) -> str:
        return code_hash(*(entry.format(**wildcards) for entry in entries))

    return fingerprint


def environment(*packages: str) -> str:
    """Public versions of the packages a result depends on, as one text."""
    return "; ".join(f"{package} {version(package).split('+')[0]}" for package in packages)
