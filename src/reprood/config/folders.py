"""Where the files of a suite are, so that no suite overwrites the results of another.

The committed suites (`config/suites/*.yaml`) are the reproductions. Their files are in folders with plain names. In any
other suite, a benchmark or method whose definition differs from the committed one of the same name has a folder
`<name>~<hash>`; everything that is equal shares the folders of the reproduction (see `reprood.pipeline.definitions`).
What the evaluate stage writes is below the results of each suite.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reprood.core.names import EVALUATED_FILES, MODEL_FILES

SUFFIX = "~"
RUNS = "runs"  # the folder of models and predictions

Folder = Annotated[str, Field(pattern=rf"^[a-z0-9_]+{SUFFIX}[0-9a-f]{{8}}$")]


class Folders(BaseModel):
    """The folders of a suite, as far as they do not have the plain name of what they hold.

    Attributes
    ----------
    benchmarks : dict
        Benchmark -> folder of its data and predictions.
    training : dict
        Benchmark -> folder of the data that its models are trained on, and of the models.
    methods : dict
        `<benchmark>/<method>` -> folder of the method's runs.
    evaluated : str
        Folder of the runs' scores and metrics; in a checkout it is below the suite's results, in a release it is that
        of the runs.

    Examples
    --------
    >>> folders = Folders(benchmarks={"cifar10": "cifar10~0123abcd"}, evaluated="results/mine/runs")
    >>> folders.file("cifar10", "erm", 0, "predictions.parquet")
    'runs/cifar10~0123abcd/erm/0/predictions.parquet'
    >>> folders.file("cifar10", "erm", 0, "model.safetensors")  # only the evaluation differs
    'runs/cifar10/erm/0/model.safetensors'
    >>> folders.file("cifar10", "erm", 0, "metrics.csv")
    'results/mine/runs/cifar10/erm/0/metrics.csv'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: dict[str, Folder] = {}
    training: dict[str, Folder] = {}
    methods: dict[str, Folder] = {}
    evaluated: Annotated[str, Field(pattern=r"^(runs|results/[A-Za-z0-9][A-Za-z0-9._~-]*/runs)$")] = RUNS

    def benchmark(self, name: str) -> str:
        """Return the folder of a benchmark's data and predictions."""
        return self.benchmarks.get(name, name)

    def trained(self, name: str) -> str:
        """Return the folder of a benchmark's training data and models."""
        return self.training.get(name, name)

    def method(self, benchmark: str, method: str) -> str:
        """Return the folder of a method's runs, below that of the benchmark."""
        return self.methods.get(f"{benchmark}/{method}", method)

    def only(self, *benchmarks: str) -> "Folders":
        """Return what concerns some benchmarks."""
        return Folders(
            benchmarks={name: folder for name, folder in self.benchmarks.items() if name in benchmarks},
            training={name: folder for name, folder in self.training.items() if name in benchmarks},
            methods={key: folder for key, folder in self.methods.items() if key.partition("/")[0] in benchmarks},
            evaluated=self.evaluated,
        )

    def file(self, benchmark: str, method: str, seed: int | str, name: str) -> str:
        """Return the path of a run's file, relative to the checkout or the release."""
        if name in EVALUATED_FILES:
            return f"{self.evaluated}/{benchmark}/{method}/{seed}/{name}"
        folder = self.trained(benchmark) if name in MODEL_FILES else self.benchmark(benchmark)
        return f"{RUNS}/{folder}/{self.method(benchmark, method)}/{seed}/{name}"


def plain_name(folder: str) -> str:
    """Return the name of the benchmark or method that a folder is for.

    Examples
    --------
    >>> plain_name("cifar10~0123abcd"), plain_name("cifar10")
    ('cifar10', 'cifar10')
    """
    return folder.partition(SUFFIX)[0]
