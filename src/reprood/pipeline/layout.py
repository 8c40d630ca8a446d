"""What a suite consists of: its benchmarks, methods, runs and studies, checked, and the files that belong to them."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from reprood.config.benchmark import Benchmark
from reprood.config.load import load_settings, load_suite
from reprood.config.records import Source
from reprood.config.suite import Arm
from reprood.core.errors import ReproodError
from reprood.core.mappings import merged
from reprood.data.catalogue import load_catalogue
from reprood.data.entries import DatasetEntry
from reprood.detectors.names import FITTED_ON_TRAIN
from reprood.methods import registry
from reprood.nets.registry import backbones as list_backbones
from reprood.pipeline.fingerprint import PACKAGE
from reprood.pipeline.outputs import SPLIT_FILES
from reprood.report.contents import OF_DATA, figures_of, page_names, tables_of
from reprood.report.studies.registry import drawings as list_drawings
from reprood.studies.registry import studies as list_studies

Self = TypeVar("Self", bound="Layout")
Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def once(question: Callable[Concatenate[Self, Asked], Answer]) -> Callable[Concatenate[Self, Asked], Answer]:
    """Keep a method's answers: Snakemake asks the same for every seed, thousands of times in a large suite."""

    @wraps(question)
    def ask(self: Self, /, *arguments: Asked.args, **named: Asked.kwargs) -> Answer:
        key = (question.__name__, arguments, *named.items())
        if key not in self.answers:
            self.answers[key] = question(self, *arguments, **named)
        answer: Answer = self.answers[key]
        return answer

    return ask


# The package's folders, read once a process.
methods = cache(registry.methods)
backbones = cache(list_backbones)
studies = cache(list_studies)
drawings = cache(list_drawings)
fits_on_train = cache(registry.fits_on_train)


class Layout:
    """A suite on a catalogue.

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
        self.answers: dict[Any, Any] = {}
        self.settings = load_settings(config)
        self.suite = load_suite(self.settings.suite, root)
        self.catalogue: dict[str, DatasetEntry] = load_catalogue(
            [root / "config" / "datasets.yaml"], dict(self.settings.datasets)
        )
        self.jobs = tuple(self.suite.jobs())
        self.pairs = tuple(dict.fromkeys((benchmark, method) for benchmark, method, _ in self.jobs))
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
            if arm.use not in methods():
                raise ReproodError(
                    f"{where}: method {name}: there is no module '{arm.use}' in reprood.methods; "
                    f"known: {', '.join(methods())}."
                )
        for name, study in self.suite.studies.items():
            _reasonable(study.set, f"{where}: study {name}")
            if study.use not in studies():
                raise ReproodError(
                    f"{where}: study {name}: there is no module '{study.use}' in reprood.studies; "
                    f"known: {', '.join(studies())}."
                )
        for benchmark, method in self.pairs:
            _reasonable(self._layers(benchmark, method), f"{where}: {benchmark}/{method}")
            backbone = self.backbone(benchmark, method).get("name")
            if backbone not in backbones():
                raise ReproodError(
                    f"{where}: {benchmark}/{method}: backbone.name is {backbone!r}; "
                    f"expected one of {', '.join(backbones())}."
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

    @once
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
        return tuple(dict.fromkeys(method for name, method in self.pairs if name == benchmark))

    def predicted_splits(self, benchmark: str, method: str) -> list[str]:
        """What a trained model is run on: ID train (when a detector or the method's own scores are fitted on it),
        validation, test, OOD sets.
        """
        record = self.benchmark(benchmark)
        fitted = any(name in FITTED_ON_TRAIN for name in record.detectors)
        fitted = fitted or fits_on_train(self.arm(method).use)
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
        return [f"results/summary/{benchmark}.{method}.json" for benchmark, method in self.pairs]

    def folders(self) -> list[str]:
        """The folders whose files the suite rests on: its data, runs, results and reports."""
        sources = dict.fromkeys(
            f"data/{source.dataset}/{source.split}"
            for name in self.benchmarks
            for source in self.benchmark(name).splits().values()
        )
        own = [f"{folder}/{name}" for name in self.benchmarks for folder in ("data/benchmarks", "runs")]
        return [*sources, *own, "results", "reports"]

    def figures(self, benchmark: str) -> tuple[str, ...]:
        """The figures of a benchmark."""
        return figures_of(self.benchmark(benchmark))

    def tables(self, benchmark: str) -> tuple[str, ...]:
        """The tables of a benchmark."""
        return tables_of(self.benchmark(benchmark))

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
        drawn = [name for name, study in self.suite.studies.items() if study.use in drawings()]
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
