"""What a suite consists of: its benchmarks, methods, runs and studies, checked, and the files that belong to them."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from reprood.config.benchmark import Benchmark
from reprood.config.external import EXTERNAL, check_external
from reprood.config.load import load_settings
from reprood.config.records import Source
from reprood.config.suite import Arm
from reprood.core.errors import ReproodError
from reprood.core.messages import closest
from reprood.data.catalogue import load_catalogue
from reprood.data.entries import DatasetEntry
from reprood.detectors import registry as detectors
from reprood.methods import registry
from reprood.pipeline.definitions import check_numbers, run_settings, stored_outputs
from reprood.pipeline.fingerprint import PACKAGE
from reprood.pipeline.known import require
from reprood.pipeline.outputs import EVALUATED_FILES, PREDICTED_FILES, SPLIT_FILES
from reprood.pipeline.suites import load, paper_files, with_substitutes
from reprood.report.contents import (
    drawings_of,
    figure_types,
    figures_of,
    modules_of,
    page_names,
    table_types,
    tables_of,
)
from reprood.report.studies.registry import drawings as list_drawings

Self = TypeVar("Self", bound="Layout")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def once(method: Callable[Concatenate[Self, Arguments], Result]) -> Callable[Concatenate[Self, Arguments], Result]:
    """Cache a method's results: Snakemake calls it again for every seed, thousands of times in a large suite."""

    @wraps(method)
    def wrapper(self: Self, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        key = (method.__name__, arguments, *named.items())
        if key not in self.cached:
            self.cached[key] = method(self, *arguments, **named)
        result: Result = self.cached[key]
        return result

    return wrapper


# The package's folders, read once per process.
drawings = cache(list_drawings)
fits_on_train = cache(registry.fits_on_train)


class Layout:
    """A suite on a catalogue.

    Parameters
    ----------
    config : mapping
        Snakemake's configuration: `config/config.yaml`, updated by the command line.
    root : Path
        The checkout, with `config/` and `src/`, or a folder that `reprood init` filled.
    replicates : mapping, optional
        Benchmark or family -> method -> number of replicates, where more than the suite's file says run; default:
        those that a sequential audit has planned in the suite's results.
    work : Path, optional
        Where results are written (`snakemake --directory`); default: `root`.

    Attributes
    ----------
    name : str
        The name of the suite or selection, in its folders.
    suite : reprood.config.suite.Suite
    folders : Folders
        Where its data and runs are.
    planned : dict
        Replicates that a sequential audit has planned for the whole suite.
    results, reports : str
        Its folders of results and of rendered pages, relative to the checkout.
    jobs, pairs, benchmarks : tuple
        (benchmark, method, seed) of every run, (benchmark, method), and the benchmarks.
    places : dict
        The benchmarks as readers see them -> names of their benchmarks: the members of a family that run, or itself.

    Raises
    ------
    ReproodError
        When the configuration is wrong, or when `reprood` is imported from another checkout.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        root: Path,
        replicates: Mapping[str, Mapping[str, int]] | None = None,
        work: Path | None = None,
    ) -> None:
        own = root / "src" / PACKAGE.name  # absent where `reprood init` put the workflow of an installed package
        if own.is_dir() and own.resolve() != PACKAGE:
            raise ReproodError(
                f"The installed package reprood comes from {PACKAGE.parent.parent}, not from this checkout ({root}); "
                "run `make environment` here, or activate this checkout's environment."
            )
        self.root, self.work = root, work or root
        self.cached: dict[Any, Any] = {}
        self.settings = load_settings(config)
        loaded = load(self.settings, root, replicates, self.work)
        self.suite, self.name, self.folders = loaded.suite, loaded.name, loaded.folders
        self.planned = loaded.replicates
        self.results, self.reports = f"results/{self.name}", f"reports/{self.name}"
        self.catalogue: dict[str, DatasetEntry] = load_catalogue(
            [root / "config" / "datasets.yaml"], dict(self.settings.datasets)
        )
        self.suite = with_substitutes(self.suite, self.settings, self.catalogue, root)
        self.jobs = tuple(self.suite.jobs())
        self.pairs = tuple(dict.fromkeys((benchmark, method) for benchmark, method, _ in self.jobs))
        self.benchmarks = tuple(dict.fromkeys(benchmark for benchmark, _, _ in self.jobs))
        self.places: dict[str, list[str]] = {}
        for name in self.benchmarks:
            self.places.setdefault(self.suite.benchmarks[name].family or name, []).append(name)
        self._runs: dict[str, list[tuple[str, int]]] = {}
        for benchmark, method, seed in self.jobs:
            self._runs.setdefault(benchmark, []).append((method, seed))
        self._check()

    def _check(self) -> None:
        """Check that every name in the suite is known."""
        where = f"Suite '{self.settings.suite}'"
        for name in self.benchmarks:
            corruption = self.benchmark(name).corruption
            if corruption is not None and corruption.baseline and corruption.baseline not in self.methods_of(name):
                raise ReproodError(
                    f"{where}: benchmark {name}: corruption.baseline is '{corruption.baseline}', which does not run on "
                    "it; name one of its methods or leave it out."
                )
            for split, source in self.benchmark(name).splits().items():
                entry = self.catalogue.get(source.dataset)
                if entry is None:
                    raise ReproodError(
                        f"{where}: benchmark {name}, split {split}: there is no data set '{source.dataset}'; "
                        f"{closest(source.dataset, self.catalogue)}."
                    )
                if source.split not in entry.splits:
                    raise ReproodError(
                        f"{where}: benchmark {name}, split {split}: the data set '{source.dataset}' has no split "
                        f"'{source.split}'; it has: {', '.join(entry.splits)}."
                    )
        for name, arm in self.suite.methods.items():
            if arm.use != EXTERNAL:
                require("methods", arm.use, "METHOD", f"{where}: method {name}: use")
        for name, study in self.suite.studies.items():
            without = next((method for method in study.methods if self.is_external(method)), None)
            if without is not None:
                raise ReproodError(f"{where}: study {name}: '{without}' is external and has no model; leave it out.")
            check_numbers(study.set, f"{where}: study {name}")
            require("studies", study.use, "STUDY", f"{where}: study {name}: use")
        for benchmark, method in self.pairs:
            settings = self.run_settings(benchmark, method)
            check_numbers([settings["settings"], settings["backbone"]], f"{where}: {benchmark}/{method}")
            if self.is_external(method):
                check_external(benchmark, self.benchmark(benchmark), self.arm(method).set, f"{where}: method {method}")
                continue
            backbone = self.backbone(benchmark, method).get("name")
            require("nets", str(backbone), "build", f"{where}: {benchmark}/{method}: backbone.name")

    @once
    def benchmark(self, name: str) -> Benchmark:
        """Return a benchmark of the suite, or a family as if it were one (see `Suite.record`)."""
        return self.suite.record(name)

    def arm(self, method: str) -> Arm:
        """Return a method (a row of the tables) of the suite."""
        return self.suite.methods[method]

    def is_external(self, method: str) -> bool:
        """Return whether a method was trained elsewhere: its outputs or weights are given."""
        return self.arm(method).use == EXTERNAL

    def has_weights(self, method: str) -> bool:
        """Return whether the weights of a method are given: it is predicted like those that are trained here."""
        return self.is_external(method) and bool(self.arm(method).set.get("weights"))

    def source(self, benchmark: str, split: str) -> Source:
        """Return the source of a benchmark's split."""
        return self.benchmark(benchmark).splits()[split]

    @once
    def run_settings(self, benchmark: str, method: str) -> dict[str, Any]:
        """Return what a training depends on besides its data, seed and code."""
        return run_settings(self.suite, benchmark, method)

    def backbone(self, benchmark: str, method: str) -> dict[str, Any]:
        """Return the network's name and options."""
        backbone: dict[str, Any] = self.run_settings(benchmark, method)["backbone"]
        return backbone

    def data_files(self, folder: str, splits: Iterable[str]) -> list[str]:
        """Return the files of some splits in one of the benchmarks' data folders."""
        return [f"data/benchmarks/{folder}/{split}/{name}" for split in splits for name in SPLIT_FILES]

    def split_files(self, benchmark: str, splits: Iterable[str]) -> list[str]:
        """Return the files of some splits of a benchmark, as they are predicted and evaluated."""
        return self.data_files(self.folders.benchmark(benchmark), splits)

    def training_splits(self, benchmark: str) -> list[str]:
        """Return the names of the splits that a training reads."""
        return ["train", "validation", "test", *self.benchmark(benchmark).auxiliary]

    def data_folder(self, benchmark: str) -> str:
        """Return the folder of a benchmark's data."""
        return f"data/benchmarks/{self.folders.benchmark(benchmark)}"

    def methods_of(self, benchmark: str) -> tuple[str, ...]:
        """Return the methods that run on a benchmark or on any member of a family."""
        names = self.places.get(benchmark, [benchmark])
        return tuple(dict.fromkeys(method for name in names for method, _ in self._runs[name]))

    def predicted_splits(self, benchmark: str, method: str) -> list[str]:
        """Return the splits that a trained model is run on.

        The training split is among them if a detector or the method's own scores are fitted on it.
        """
        record = self.benchmark(benchmark)
        fitted = stored_outputs(record)["train"] or fits_on_train(self.arm(method).use)
        outliers = record.ood if "detection" in record.evaluations else ()
        return [*(["train"] if fitted else []), "validation", "test", *outliers, *self.made_splits(benchmark)]

    def stores_features(self, benchmark: str) -> bool:
        """Whether predictions of a benchmark include features: a detector needs them, or the benchmark says so."""
        return bool(stored_outputs(self.benchmark(benchmark))["features"])

    def detector_modules(self, *benchmarks: str) -> list[str]:
        """Return the modules of the detectors of some benchmarks (without names: of all), for a fingerprint."""
        chosen = benchmarks or self.benchmarks
        used = {detectors.ALWAYS, *(name for benchmark in chosen for name in self.benchmark(benchmark).detectors)}
        return [detectors.module_name(name) for name in sorted(used)]

    def run_folder(self, benchmark: str, method: str, seed: int) -> str:
        """Return the folder of a run."""
        return str(Path(self.run_file(benchmark, method, seed, PREDICTED_FILES[0])).parent)

    def made_splits(self, benchmark: str) -> list[str]:
        """Return the splits that are created from the test split."""
        return ["corrupted"] if self.benchmark(benchmark).corruption is not None else []

    def run_file(self, benchmark: str, method: str, seed: int, name: str) -> str:
        """Return the path of a run's file."""
        return self.folders.file(benchmark, method, seed, name)

    def runs(self, *names: str, benchmark: str | None = None) -> list[str]:
        """Return the named files of every run (of one benchmark or family)."""
        jobs = self.jobs if benchmark is None else self.jobs_of(benchmark)
        return [self.run_file(b, m, s, name) for b, m, s in jobs for name in names]

    def jobs_of(self, benchmark: str) -> list[tuple[str, str, int]]:
        """Return (benchmark, method, seed) of the runs of a benchmark or family."""
        return [(name, *run) for name in self.places.get(benchmark, [benchmark]) for run in self._runs[name]]

    def summaries(self) -> list[str]:
        """Return the small files of metrics, one for each benchmark and method."""
        return [f"{self.results}/summary/{benchmark}.{method}.json" for benchmark, method in self.pairs]

    def file_folders(self) -> list[str]:
        """Return the folders with all files of the suite: its data, runs, results and reports."""
        sources = dict.fromkeys(
            f"data/{source.dataset}/{source.split}"
            for name in self.benchmarks
            for source in self.benchmark(name).splits().values()
        )
        places = (self.folders.benchmark, self.folders.trained)
        names = dict.fromkeys(place(name) for name in self.benchmarks for place in places)
        own = [f"{folder}/{name}" for name in names for folder in ("data/benchmarks", "runs")]
        return [*sources, *own, self.results, self.reports]

    def outputs(self) -> list[str]:
        """Return the larger files that the suite's jobs write: splits, models, predictions and metrics."""
        data = [path for name in self.benchmarks for path in self.split_files(name, self.benchmark(name).splits())]
        return data + self.runs("model.json", "history.csv", "predictions.parquet", "metrics.csv")

    def figures(self, benchmark: str) -> tuple[str, ...]:
        """Return the kinds of figures of a benchmark."""
        return figures_of(self.benchmark(benchmark))

    def tables(self, benchmark: str) -> tuple[str, ...]:
        """Return the kinds of tables of a benchmark."""
        return tables_of(self.benchmark(benchmark))

    def figure_modules(self, *benchmarks: str) -> list[str]:
        """Return the modules that draw the figures of some benchmarks (without names: of all), for a fingerprint."""
        records = map(self.benchmark, benchmarks or self.places)
        return modules_of([one.draw for record in records for one in figure_types(record)])

    def table_modules(self, *benchmarks: str) -> list[str]:
        """Return the modules that make the tables of some benchmarks (without names: of all), for a fingerprint."""
        records = map(self.benchmark, benchmarks or self.places)
        return modules_of([one.make for record in records for one in table_types(record)])

    def concluding_modules(self) -> list[str]:
        """Return the modules that draw the suite's studies and state their conclusions, for a fingerprint."""
        used = {study.use for study in self.suite.studies.values()}
        return [f"reprood.report.studies.{name}" for name in drawings() if name in used]

    def study_seeds(self, name: str) -> tuple[int, ...]:
        """Return a study's seeds."""
        return self.suite.study_seeds(name)

    def study_inputs(self, name: str) -> list[str]:
        """Return what a study reads: its benchmark's splits and OOD sets if it asks for them, and trained models."""
        study = self.suite.studies[name]
        if not study.benchmark:
            return []
        files: list[str] = []
        for seed in self.study_seeds(name):
            place = self.suite.place(study.benchmark, seed)
            if study.data:
                files += self.data_files(self.folders.trained(place), self.training_splits(place))
            if study.ood:
                files += self.split_files(place, self.benchmark(place).ood)
            for method in study.methods:
                files += [self.run_file(place, method, seed, file) for file in ("model.safetensors", "model.json")]
        return list(dict.fromkeys(files))

    def study_files(self, *names: str) -> list[str]:
        """Return the named files of every study."""
        return [f"{self.results}/studies/{study}/{name}" for study in self.suite.studies for name in names]

    def made_files(self) -> list[str]:
        """Return the descriptions of the splits that are created from test splits."""
        return [
            f"{self.data_folder(name)}/{split}/meta.json"
            for name in self.benchmarks
            for split in self.made_splits(name)
        ]

    def first_member(self, benchmark: str) -> str:
        """Return the benchmark of a family's first replicate, which figures show; else the benchmark itself."""
        return min(self.jobs_of(benchmark), key=lambda job: job[2])[0]

    def example_file(self, benchmark: str) -> str:
        """Return the file of images before and after each method's augmentation."""
        return f"{self.results}/examples/{benchmark}.npz"

    def examples(self) -> list[str]:
        """Return the files of augmented images of all benchmarks that show them."""
        return [self.example_file(name) for name in self.places if "examples" in self.figures(name)]

    def figure_files(self, *benchmarks: str) -> list[str]:
        """Return the figures of benchmarks or families as SVG; without names those of all, and of all studies."""
        selected = benchmarks or self.places
        files = [f"{self.reports}/figures/{name}/{kind}.svg" for name in selected for kind in self.figures(name)]
        drawn = [name for name, study in self.suite.studies.items() if study.use in drawings()]
        return files + ([] if benchmarks else [f"{self.reports}/figures/studies/{name}.svg" for name in drawn])

    def phone_files(self, benchmark: str) -> list[str]:
        """Return the figures of a benchmark or family as a phone shows them."""
        wide, everything = self.figures(benchmark), drawings_of(self.benchmark(benchmark))
        return [f"{self.reports}/figures/{benchmark}/{name}.svg" for name in everything if name not in wide]

    def table_files(self, *benchmarks: str) -> list[str]:
        """Return the tables of benchmarks or families (without names: of all) as CSV."""
        selected = benchmarks or self.places
        return [f"{self.reports}/tables/{name}/{kind}.csv" for name in selected for kind in self.tables(name)]

    def drawing_inputs(self, benchmark: str) -> list[str]:
        """Return the files that the figures and tables of a benchmark or family are drawn from."""
        files = self.runs("predictions.parquet", *EVALUATED_FILES, "history.csv", benchmark=benchmark)
        shown = {one.images for one in figure_types(self.benchmark(benchmark))}
        if "test" in shown:
            files += self.split_files(self.first_member(benchmark), ["test", *self.benchmark(benchmark).ood])
        return files + ([self.example_file(benchmark)] if "augmented" in shown else [])

    def pages(self) -> list[str]:
        """Return the report's pages, relative to its folder."""
        return page_names([Path(path).stem for path in self.papers()], list(self.places), list(self.suite.studies))

    def templates(self) -> list[str]:
        """Return the templates of the pages."""
        return sorted(map(self._seen, (PACKAGE / "report" / "templates").iterdir()))

    def papers(self) -> list[str]:
        """Return the files of the papers that are judged."""
        chosen = self.suite.papers
        return [self._seen(path) for path in paper_files(self.root) if not chosen or path.stem in chosen]

    def project_file(self, name: str) -> str:
        """Return the path, for the jobs, of a file or folder of the project such as `config/defects.yaml`."""
        return self._seen(self.root / name)

    def _seen(self, path: Path) -> str:
        """Return a path relative to the folder of the results if it is in there, as jobs run in it."""
        path, work = path.resolve(), self.work.resolve()
        return str(path.relative_to(work) if path.is_relative_to(work) else path)
