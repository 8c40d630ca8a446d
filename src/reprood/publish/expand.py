"""Read a compact release: its runs and tables as the pipeline writes them, without what only the archive holds."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.core.errors import ReproodError
from reprood.evaluate.table import COLUMNS, METRICS_FILE, TYPES, read_metrics, write_csv
from reprood.publish.archive import ARCHIVE
from reprood.publish.compact_runs import restore_run
from reprood.publish.contents import Paths

METRICS = "metrics.parquet"
COLLECTED = "mce"  # of several runs: no run's own table of metrics has it


@contextmanager
def expanded(folder: Path) -> Iterator[Path]:
    """Give the folder of a full release, or a temporary folder with the restored runs of a compact one.

    Raises
    ------
    ReproodError
        When a file is missing or damaged.
    """
    if not (folder / ARCHIVE).is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="reprood-") as temporary:
        expand(folder, Path(temporary))
        yield Path(temporary)


def expand(folder: Path, out: Path) -> None:
    """Write a compact release with its runs restored, and the metrics of every run in a file of its own."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != "runs":
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / name)
    for packed in sorted((folder / "runs").glob("*/*/*.zip")):
        restore_run(packed, out / packed.relative_to(folder).with_suffix(""))
    table = collected_metrics(Paths(folder).results)
    write_csv(table, Paths(out).results / METRICS_FILE)
    of_runs = metrics_of_runs(table)
    for job in Paths(folder).suite()[1].jobs():  # never the table's own names, which would be paths
        if job in of_runs:
            write_csv(of_runs[job], Paths(out).run(*job) / METRICS_FILE)


def metrics_of_runs(table: pd.DataFrame) -> dict[tuple[str, str, int], pd.DataFrame]:
    """Return the metrics of each run, by benchmark, method and seed, without those that need several runs."""
    groups = table[table["metric"] != COLLECTED].groupby(["benchmark", "method", "seed"], sort=False)
    return {(str(name), str(method), int(str(seed))): rows for (name, method, seed), rows in groups}


def collected_metrics(results: Path) -> pd.DataFrame:
    """Read the metrics of all runs of a release, full or compact, or of a suite's results.

    Raises
    ------
    ReproodError
        When the file is missing, or is not a table of metrics.
    """
    path = results / METRICS
    if (results / METRICS_FILE).is_file() or not path.is_file():
        return read_metrics(results / METRICS_FILE)
    try:
        table = pq.read_table(path, columns=list(COLUMNS)).to_pandas().astype(TYPES)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise ReproodError(f"{path} is not a table of metrics ({error}); get the release again.") from error
    with tempfile.TemporaryDirectory() as temporary:  # the checks of names and values are those of the text form
        write_csv(table, Path(temporary) / METRICS_FILE)
        return read_metrics(Path(temporary) / METRICS_FILE)
