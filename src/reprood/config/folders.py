"""Where the data and runs of a suite are, so that an experiment never overwrites a reproduction.

The committed suites (`config/suites/*.yaml`) are the reproductions. Their files are in folders with plain names. In any
other suite, a benchmark or method whose definition differs from the committed one of the same name has a folder
`<name>~<hash>`; everything that is equal shares the folders of the reproduction (see `reprood.pipeline.definitions`).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reprood.core.names import MODEL_FILES

SUFFIX = "~"

Folder = Annotated[str, Field(pattern=rf"^[a-z0-9_]+{SUFFIX}[0-9a-f]{{8}}$")]


class Folders(BaseModel):
    """The folders of a suite that do not have the plain name of what they hold.

    Attributes
    ----------
    benchmarks : dict
        Benchmark -> folder of its data, predictions and metrics.
    training : dict
        Benchmark -> folder of the data that its models are trained on, and of the models.
    methods : dict
        `<benchmark>/<method>` -> folder of the method's runs.

    Examples
    --------
    >>> folders = Folders(benchmarks={"cifar10": "cifar10~0123abcd"})
    >>> folders.file("cifar10", "erm", 0, "predictions.parquet")
    'cifar10~0123abcd/erm/0/predictions.parquet'
    >>> folders.file("cifar10", "erm", 0, "model.safetensors")  # only the evaluation differs
    'cifar10/erm/0/model.safetensors'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: dict[str, Folder] = {}
    training: dict[str, Folder] = {}
    methods: dict[str, Folder] = {}

    def benchmark(self, name: str) -> str:
        """Return the folder of a benchmark's data, predictions and metrics."""
        return self.benchmarks.get(name, name)

    def trained(self, name: str) -> str:
        """Return the folder of a benchmark's training data and models."""
        return self.training.get(name, name)

    def method(self, benchmark: str, method: str) -> str:
        """Return the folder of a method's runs, below that of the benchmark."""
        return self.methods.get(f"{benchmark}/{method}", method)

    def file(self, benchmark: str, method: str, seed: int | str, name: str) -> str:
        """Return the path of a run's file, relative to the folder of all runs."""
        folder = self.trained(benchmark) if name in MODEL_FILES else self.benchmark(benchmark)
        return f"{folder}/{self.method(benchmark, method)}/{seed}/{name}"


def plain_name(folder: str) -> str:
    """Return the name of the benchmark or method that a folder is for.

    Examples
    --------
    >>> plain_name("cifar10~0123abcd"), plain_name("cifar10")
    ('cifar10', 'cifar10')
    """
    return folder.partition(SUFFIX)[0]
