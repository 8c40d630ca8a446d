"""The jobs of streamed benchmarks, whose training images stay in files (reader `image_index`)."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json, read_json, write_json
from reprood.core.registry import available
from reprood.data.entries import is_streamed
from reprood.data.own import own_content
from reprood.pipeline.given import GivenRuns

FUNCTION = "train_streamed"  # what the module of a method that can be trained so defines
PACKAGES = ("torchvision", "pillow")  # that decode and transform them


class StreamedRuns(GivenRuns):
    """A suite with what is particular to its streamed benchmarks."""

    @cached_property
    def streamable(self) -> tuple[str, ...]:
        """Return the methods that can be trained on streamed images."""
        return available("methods", FUNCTION)

    def streams(self, benchmark: str) -> bool:
        """Return whether a benchmark's training images are streamed."""
        source = self.source(benchmark, "train")
        return is_streamed(self.catalogue[source.dataset], source.split)

    def _check(self) -> None:
        super()._check()
        self.check_streamed()

    def check_streamed(self) -> None:
        """Check that what a streamed benchmark asks for needs no training image in memory.

        Raises
        ------
        ReproodError
            One sentence.
        """
        for benchmark, method in self.pairs:
            if not self.streams(benchmark):
                continue
            where = f"Suite '{self.settings.suite}': benchmark {benchmark}"
            if self.benchmark(benchmark).label_noise is not None:
                raise ReproodError(f"{where}: a streamed training split has no label_noise; leave it out.")
            if not self.is_external(method) and self.arm(method).use not in self.streamable:
                raise ReproodError(
                    f"{where}: {method} uses {self.arm(method).use}, which cannot be trained on streamed images; use "
                    f"one of {', '.join(self.streamable)}."
                )
            if "train" in self.predicted_splits(benchmark, method):
                raise ReproodError(
                    f"{where}: a detector or a score of {method} is fitted on the training images, which are streamed; "
                    "take it out of 'detectors'."
                )

    def own_content(self, dataset: str, split: str) -> str:
        """Return the contents of the user's own files that a split is read from; "" if there are none.

        Of a streamed split, these are names and sizes: its job reads the contents.
        """
        entry, kept = self.catalogue[dataset], self.root / "state" / "own"
        if not is_streamed(entry, split):
            return own_content(entry, split, kept)
        found = {}
        for name in entry.splits[split].files:
            if entry.files[name].path:
                with suppress(OSError):
                    found[name] = listing_of(Path(entry.files[name].path).expanduser(), kept)
        return canonical_json(found) if found else ""

    def train_entry(self, benchmark: str) -> str:
        """Return the module that trains on a benchmark, for a fingerprint."""
        return "reprood.train.streamed" if self.streams(benchmark) else "reprood.train.run"

    @cached_property
    def streamed_datasets(self) -> str:
        """Pattern of the data sets that are read into an index, for the rule `index`."""
        return _any_of(
            name for name, entry in self.catalogue.items() if any(is_streamed(entry, s) for s in entry.splits)
        )

    @cached_property
    def streamed_benchmarks(self) -> str:
        """Pattern of the folders of the streamed benchmarks, for the rule `train_streamed`."""
        return _any_of(filter(self.streams, self.benchmarks)) + "(~[0-9a-f]{8})?"

    @cached_property
    def other_datasets(self) -> str:
        """Pattern of the data sets that are read into arrays, for the rule `dataset`."""
        return f"(?!{self.streamed_datasets}/)[a-z0-9_]+"

    @cached_property
    def other_benchmarks(self) -> str:
        """Pattern of the folders of all benchmarks that are not streamed, for the rule `train`."""
        return f"(?!{self.streamed_benchmarks}/)[a-z0-9_]+(~[0-9a-f]{{8}})?"


def _any_of(names: Iterable[str]) -> str:
    """Return a pattern of some names; without any, one that nothing matches."""
    return f"(?:{'|'.join(sorted(names)) or '(?!)'})"


def listing_of(folder: Path, kept: Path) -> str:
    """Return a hash of the names and sizes of the files in a folder and in the folders inside of it, or of one file.

    A folder whose time has not changed since is not listed again: files were neither added nor removed nor renamed.

    Parameters
    ----------
    folder : Path
        Folder or file.
    kept : Path
        Folder of the records of listings that were made before.
    """
    if folder.is_file():
        return f"{folder.name} {folder.stat().st_size}"
    path = kept / f"listing-{hashlib.sha256(str(folder).encode(errors='surrogateescape')).hexdigest()[:16]}.json"
    seen: dict[str, list[int | str]] = {}
    with suppress(ReproodError):
        stored = read_json(path)
        seen = stored if isinstance(stored, dict) else {}
    now = {}
    for part in (folder, *sorted(inner for inner in folder.iterdir() if inner.is_dir())):
        name, marks = part.relative_to(folder).as_posix(), [part.stat().st_mtime_ns, part.stat().st_ino]
        known = seen.get(name, [])
        now[name] = known if known[:-1] == marks else [*marks, _names_and_sizes(part)]
    if now != seen:
        write_json(path, now)
    return hashlib.sha256(canonical_json({name: marks[-1] for name, marks in now.items()}).encode()).hexdigest()


def _names_and_sizes(folder: Path) -> str:
    files = sorted((path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file())
    return hashlib.sha256(canonical_json(files).encode(errors="surrogateescape")).hexdigest()
