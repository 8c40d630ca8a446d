"""The weights of a release: an archive of its own, which the release names by URL and SHA-256."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file
from reprood.core.messages import explain_validation
from reprood.data.download import Progress, SourceFailed, download
from reprood.publish.archive import EPOCH
from reprood.publish.cards import model_card
from reprood.publish.compact_runs import read_record
from reprood.publish.contents import Paths, in_checkout
from reprood.publish.unpack import DAMAGED

CHECKPOINTS = "checkpoints.json"
WEIGHTS, CARD = "model.safetensors", "README.md"


class Checkpoints(BaseModel, extra="forbid", frozen=True):
    """What a release says of the archive of its weights.

    Attributes
    ----------
    url : str
    sha256 : str
    size : int
        In bytes.
    runs : int
        Number of runs in it.
    """

    url: str = Field(pattern=r"^https?://\S+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=1)
    runs: int = Field(ge=1)


def pack(name: str, suite: Suite, root: Path, archive: Path, *, url: str, release: str) -> Checkpoints:
    """Write the archive: `runs/<benchmark>/<method>/<seed>/` with weights, model.json and a model card.

    Parameters
    ----------
    name, suite : str, Suite
        The suite that was run.
    root : Path
        The checkout with its runs.
    archive : Path
        File to write.
    url : str
        Where it will be.
    release : str
        Name of the release.

    Raises
    ------
    ReproodError
        When the weights of a run are not there, as after continuing from a release.
    """
    runs = list(Paths(root).all_runs(suite))
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as out:
        for benchmark, method, seed, _ in runs:
            place = f"runs/{benchmark}/{method}/{seed}"
            files = {
                file: root / in_checkout(f"{place}/{file}", name, suite.folders)
                for file in (WEIGHTS, "model.json", "run.json", "metrics.csv")
            }
            if not files[WEIGHTS].is_file():
                raise ReproodError(
                    f"{files[WEIGHTS]} is not there (given outputs, and runs that were taken over from a release, have "
                    "no weights); build the release without --checkpoints-url."
                )
            card = model_card(
                read_json(files["model.json"]), read_json(files["run.json"]), pd.read_csv(files["metrics.csv"]),
                title=suite.benchmarks[benchmark].title, release=release,
            )  # fmt: skip
            for file in (WEIGHTS, "model.json"):
                out.writestr(zipfile.ZipInfo(f"{place}/{file}", EPOCH), files[file].read_bytes())
            out.writestr(zipfile.ZipInfo(f"{place}/{CARD}", EPOCH), card)
    return Checkpoints(url=url, sha256=sha256_file(archive), size=archive.stat().st_size, runs=len(runs))


def fetch(
    folder: Path, into: Path, downloads: Path, *, progress: Progress | None = None, say: Callable[[str], None]
) -> int:
    """Download the weights of a release, check them, and put them in place; return the number of runs.

    Parameters
    ----------
    folder : Path
        The release.
    into : Path
        Gets `runs/<benchmark>/<method>/<seed>/`.
    downloads : Path
        Keeps the archive; an interrupted download goes on from there.
    progress : callable, optional
        Called with bytes done and bytes in total.
    say : callable
        Called with each line for the user.

    Raises
    ------
    ReproodError
        When the release names no archive, the download fails, or archive or weights have another checksum.
    """
    file = folder / CHECKPOINTS
    if not file.is_file():
        raise ReproodError(f"{folder} names no archive of weights; train its runs with `snakemake --cores all`.")
    try:
        named = Checkpoints.model_validate(read_json(file))
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(file))) from error
    archive = downloads / f"{named.sha256}.zip"
    if not archive.is_file():
        downloads.mkdir(parents=True, exist_ok=True)
        part = archive.with_suffix(".part")
        say(f"Downloading {named.url} ({named.size / 1e6:.1f} MB)")
        try:
            download(named.url, part, progress=progress, most=named.size)
        except SourceFailed as error:
            raise ReproodError(f"{named.url}: {error}; run the same command to resume.") from error
        found = sha256_file(part)
        if found != named.sha256:
            part.unlink()
            raise ReproodError(
                f"{named.url} has the SHA-256 {found}, and the release states {named.sha256}; it was removed."
            )
        part.replace(archive)
    try:
        return _unpack(archive, folder, into)
    except DAMAGED as error:
        raise ReproodError(f"{archive} is damaged ({error}); delete it and fetch again.") from error


def _unpack(archive: Path, folder: Path, into: Path) -> int:
    """Put weights in place that have the checksum stated by the run's run.json in the release."""
    count = 0
    with zipfile.ZipFile(archive) as opened:
        for member in sorted(opened.namelist()):
            parts = Path(member).parts
            if len(parts) != 5 or parts[0] != "runs" or ".." in parts or parts[4] not in (WEIGHTS, "model.json", CARD):
                raise ReproodError(
                    f"{archive}: {member} is not expected in an archive of weights; it was not unpacked."
                )
            record = read_record(Paths(folder), *parts[1:4])
            if record is None:
                raise ReproodError(f"{archive}: {member} belongs to no run of {folder}.")
            with atomic_path(into / member) as temporary:
                temporary.write_bytes(opened.read(member))
                if parts[4] == WEIGHTS and sha256_file(temporary) != record["model"]:
                    stated = folder.joinpath(*parts[:4], "run.json")
                    raise ReproodError(f"{archive}: {member} has another SHA-256 than {stated} states.")
            count += parts[4] == WEIGHTS
    return count
