"""Making a bundle ready on the machine that it was brought to: packages, arrays, what was begun before."""

import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, read_json, sha256_file
from reprood.offload.archive import copy, parts_of, unpack
from reprood.offload.jobs import Job

if TYPE_CHECKING:
    import numpy as np

KEPT = ("records", "visits", "runs", "state/train", "logs")  # what of an output folder belongs to the results
FILES = ("labels.npy", "extras.npz", "meta.json")


def missing_packages(names: Sequence[str]) -> list[str]:
    """Those of the packages that this interpreter does not find."""
    return [name for name in names if PathFinder.find_spec(name) is None]


def add_carried(bundle: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Put wheels of packages that are missing here on the path; the names of those that still are, for training.

    A package that is here stays the one that is used.
    """
    needs = sorted({name for kind in manifest["needs"].values() for name in kind})
    for name in missing_packages(needs):
        folder = bundle / "wheels" / manifest["distributions"][name]
        for wheel in sorted(folder.glob("*.whl")):
            site = bundle / "site"
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            if str(site) not in sys.path:
                sys.path.insert(0, str(site))
    PathFinder.invalidate_caches()
    return missing_packages(manifest["needs"]["train"])


def rebuild(bundle: Path, manifest: Mapping[str, Any], jobs: Sequence[Job], folder: Path) -> None:
    """Write the splits that the jobs read below `folder`/benchmarks, each checked; what is there already is kept.

    Raises
    ------
    ReproodError
        When a split does not come out as it went in.
    """
    splits: Mapping[str, str] = manifest["layout"]["splits"]
    wanted = dict.fromkeys(f"{job.benchmark}/{split}" for job in jobs for split in job.data)
    pools: dict[str, np.ndarray] = {}
    for name in wanted:
        target = folder / "benchmarks" / name
        if (target / "meta.json").is_file():
            continue
        _rebuild(bundle, manifest, name, splits[name], target, pools)
    for job in jobs:
        for split, content in job.data.items():
            if read_json(folder / "benchmarks" / job.benchmark / split / "meta.json")["content"] != content:
                raise ReproodError(f"{folder} holds other data for {job.benchmark}/{split}; give another --work.")


def _rebuild(
    bundle: Path, manifest: Mapping[str, Any], name: str, shape: str, target: Path, pools: "dict[str, np.ndarray]"
) -> None:
    import numpy as np

    from reprood.offload.pools import decode

    if shape not in pools:
        size = [int(part) for part in shape.split("x")]
        pieces = [decode((bundle / piece).read_bytes(), size) for piece in manifest["layout"]["pools"][shape]]
        pools[shape] = np.concatenate(pieces)
    source = bundle / "splits" / name
    rows = np.load(source / "rows.npy", allow_pickle=False)
    with atomic_path(target / "images.npy") as temporary, open(temporary, "wb") as stream:
        np.lib.format.write_array(stream, pools[shape][rows], version=(1, 0), allow_pickle=False)
    if sha256_file(target / "images.npy") != read_json(source / "meta.json")["sha256"]["images"]:
        raise ReproodError(
            f"{target}: the images did not come out as they were packed; pack and bring the bundle again."
        )
    for file in FILES:
        copy(source / file, target / file)


def results_of(place: Path, scratch: Path) -> Path:
    """The folder of results that `place` is or holds: an output folder, a results archive, or a folder with its parts.

    Raises
    ------
    ReproodError
        When it is none of these.
    """
    if (place / "records").is_dir():
        return place
    if place.is_dir():
        parts = parts_of(place / "results.tar")
    else:
        parts = [place] if place.is_file() else parts_of(place)
    if not parts:
        raise ReproodError(f"{place} holds no results: neither a folder records/ nor results.tar or its parts.")
    return unpack(parts, Path(tempfile.mkdtemp(dir=scratch)))


def take_over(source: Path, target: Path, *, replace: bool) -> None:
    """Copy results into an output folder; `replace` decides about files that are there."""
    for kept in KEPT:
        for path in sorted((source / kept).rglob("*")):
            there = target / path.relative_to(source)
            if path.is_file() and path.name != "lock" and (replace or not there.exists()):
                copy(path, there)
