"""The jobs of streamed benchmarks, whose training images stay in files (reader `image_index`)."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.core.files import canonical_json
from reprood.core.registry import available
from reprood.data.entries import is_streamed
from reprood.data.own import own_content
from reprood.pipeline.given import GivenRuns
from reprood.pipeline.layout import once

FUNCTION = "train_streamed"  # what the module of a method that can be trained so defines
PACKAGES = ("torchvision", "pillow")  # that decode and transform them
LEVELS = 3  # folders inside of each other in which readers look: train/<class>/<name>.xml


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
        """Check that the splits of a benchmark are all streamed or none, and need no training image in memory if so.

        Raises
        ------
        ReproodError
            One sentence.
        """
        for benchmark in self.benchmarks:
            sources = self.benchmark(benchmark).splits()
            arrays = [name for name, one in sources.items() if not is_streamed(self.catalogue[one.dataset], one.split)]
            if 0 < len(arrays) < len(sources):
                raise ReproodError(
                    f"Suite '{self.settings.suite}': benchmark {benchmark}: {', '.join(arrays)} would be prepared by "
                    "another rule than the other splits, which are streamed; read all splits with image_index, or none."
                )
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

    @once
    def own_content(self, dataset: str, split: str) -> str:
        """Return the contents of the user's own files that a split is read from; "" if there are none.

        Of a streamed split, these are names and sizes, wherever its folders are found: its job reads the contents. What
        cannot be read has no content here: the job reports why.
        """
        entry, kept = self.catalogue[dataset], self.root / "state" / "own"
        if not is_streamed(entry, split):
            return own_content(entry, split, kept)
        from reprood.data.index_reader import find_folder  # imports pillow, which few suites need here

        record, found = entry.splits[split], {}
        for name in record.files:
            root = str(record.options.get("root", "")) if name == record.files[0] else ""
            with suppress(ReproodError, OSError):
                path = find_folder(dataset, name, entry.files[name].path, self.settings.mirrors)
                found[name] = listing_of(path / root)
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


def listing_of(path: Path) -> str:
    """Return a hash of the names and sizes of the files in a folder, or of one file.

    Hidden files are left out. Every file is looked at, because a folder's time does not change when a file in it grows.
    """
    if path.is_file():
        return f"{path.name} {path.stat().st_size}"
    listed = canonical_json(sorted(_names_and_sizes(path, LEVELS)))
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()


def _names_and_sizes(folder: str | Path, levels: int, prefix: str = "") -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for one in entries:
            if one.name.startswith("."):
                continue
            if one.is_file():
                yield f"{prefix}{one.name}", one.stat().st_size
            elif levels > 1 and one.is_dir():
                yield from _names_and_sizes(one.path, levels - 1, f"{prefix}{one.name}/")
