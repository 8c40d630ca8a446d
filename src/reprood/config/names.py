"""Checks that a benchmark uses styles and corruptions that exist.

Only the planner and the command line import this module, so that a new style or corruption changes the code
of no job that does not use it.
"""

from reprood.config.benchmark import Benchmark
from reprood.config.perturbations import Corruptions
from reprood.config.records import Source
from reprood.core.errors import ReproodError
from reprood.images.registry import CORRUPTION_NAMES, STYLE_NAMES


def check_style(source: Source, where: str) -> None:
    """Check that the style of a source exists.

    Raises
    ------
    ReproodError
        When there is no such style; lists the known ones.
    """
    if source.style and source.style not in STYLE_NAMES:
        raise ReproodError(f"{where}.style: there is no style '{source.style}'; known: {', '.join(STYLE_NAMES)}.")


def check_corruptions(options: Corruptions, where: str) -> None:
    """Check that all corruptions exist.

    Raises
    ------
    ReproodError
        When there is no such corruption; lists the known ones.
    """
    for name in options.names:
        if name not in CORRUPTION_NAMES:
            raise ReproodError(f"{where}.names: there is no corruption '{name}'; known: {', '.join(CORRUPTION_NAMES)}.")


def check_names(benchmark: Benchmark, where: str, key: str) -> None:
    """Check all names of styles and corruptions of a benchmark, and that frost has its photographs.

    Parameters
    ----------
    benchmark : Benchmark
        A valid record.
    where : str
        The file, for the message.
    key : str
        Key of the benchmark in the file.

    Raises
    ------
    ReproodError
        For an unknown name; lists the known ones. For the corruption frost without photographs.
    """
    groups = {"ood": "ood.", "auxiliary": "auxiliary."}
    for split, source in benchmark.splits().items():
        check_style(source, f"{where}: {key}.{groups.get(benchmark.role(split), '')}{split}")
    if benchmark.corruption is not None:
        check_corruptions(benchmark.corruption, f"{where}: {key}.corruption")
        frost = benchmark.corruption.frost_set
        if frost and frost not in benchmark.auxiliary:
            raise ReproodError(
                f"{where}: {key}: the corruption 'frost' needs the auxiliary set '{frost}', a split of the data set "
                "'frost'; add it, or set corruption.frost to 'drawn'."
            )
