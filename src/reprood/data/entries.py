"""Records of the catalogue: where a data set is published, how it is read, its licence and its authors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from reprood.config.records import Line, Record, check_name

Reader = Literal[
    "idx", "cifar_binary", "svhn_mat", "image_folder", "image_list", "tiny_imagenet", "mvtec", "parquet", "npz", "npy",
    "npy_archive", "digits_csv", "frost_crops", "image_index", "generator", "cub", "domainnet", "downsampled_imagenet",
]  # fmt: skip


class Package(Record):
    """A package that contains a file.

    Attributes
    ----------
    kind : {"debian", "wheel"}
        Kind of the package.
    name, version : str
        As in the package index; an empty version means the current one.
    member : str
        Path of the file inside the package.
    """

    kind: Literal["debian", "wheel"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]*$")  # an option or a URL would change what is installed
    version: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9+.:~_-]*)?$")
    member: str


class File(Record):
    """A file (or folder) from which a data set is read.

    Attributes
    ----------
    path : str
        Location on this machine, for the user's own data sets. Its content is an input like any other: a change
        re-runs what depends on it.
    urls : tuple of str
        Official URLs, tried in order.
    size : int
        In bytes.
    md5, sha256 : str
        Checksum of the file as published. Without one, the checksum is recorded at first use and compared afterwards,
        except that of a `path`.
    content_sha256 : str
        Checksum of the decompressed content, for files that are compressed differently by different sources.
    packages : tuple of Package
        Tried after the URLs.
    """

    path: str = Field(default="", max_length=1000)
    urls: tuple[str, ...] = ()
    size: int | None = Field(default=None, ge=1)
    md5: str = Field(default="", pattern=r"^([0-9a-f]{32})?$")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    content_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    packages: tuple[Package, ...] = ()

    @model_validator(mode="after")
    def _check_urls(self) -> "File":
        for url in self.urls:
            if not url.startswith(("http://", "https://")) or not url.isprintable() or " " in url:
                raise ValueError(f"'{url}' is not a URL; it must begin with https:// or http:// and contain no blank")
        return self


class SplitEntry(Record):
    """How one split is read.

    Attributes
    ----------
    reader : str
        Format of the files.
    files : tuple of str
        The files it needs, as named under the entry's `files`.
    options : dict
        Options of the reader.
    """

    reader: Reader
    files: tuple[str, ...] = ()
    options: dict[str, Any] = {}


class DatasetEntry(Record):
    """One data set.

    Attributes
    ----------
    title : str
        Name for readers.
    licence : str
        Licence of the data.
    citation : str
        How to cite it.
    homepage : str
        Where it is described.
    note : str
        Remark on the page of the data.
    classes : tuple of str
        Names in the order of the labels; by default those in the data.
    size : int
        Side in pixels to which images of varying size are resized (shorter side, then centre crop).
    channels : {1, 3}
        Stored channels; by default those of a fixed format, or 3 for encoded images.
    published_resize : bool
        Whether the publisher resized the images with another rule; benchmarks must allow this explicitly.
    files : dict of File
        By file name. A mirror has them as <mirror>/<data set>/<file name> or <mirror>/<file name>.
    splits : dict of SplitEntry
        How each split is read, by name.
    """

    title: Line
    licence: Line
    citation: str = ""
    homepage: str = Field(default="", pattern=r"^(https?://[^\s\"'<>]+)?$")
    note: str = ""
    classes: tuple[str, ...] = ()
    size: int | None = Field(default=None, ge=8, le=1024)
    channels: Literal[1, 3] | None = None
    published_resize: bool = False
    files: dict[str, File] = {}
    splits: dict[str, SplitEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_files(self) -> "DatasetEntry":
        for name in self.files:
            if "/" in name or name.startswith((".", "-")) or not name.isprintable() or not 0 < len(name) <= 200:
                raise ValueError(
                    f"the file name '{name[:200]}' must be a plain name; write its location under 'path' or 'urls'"
                )
        for name in self.splits:
            check_name(name, "split")
        for name, split in self.splits.items():
            for file in split.files:
                if file not in self.files:
                    raise ValueError(
                        f"split {name} reads '{file}', which is not listed under files: {', '.join(self.files)}"
                    )
            if split.reader != "generator" and not split.files:
                raise ValueError(f"split {name} has the reader {split.reader} but no files")
        return self


@dataclass(frozen=True)
class SourceFile:
    """A file that is present and has been checked.

    Attributes
    ----------
    path : Path
    kind : {"path", "mirror", "url", "package"}
        Kind of source.
    record : dict
        Name, size, SHA-256, how it was checked and where it came from, for `meta.json`.
    """

    path: Path
    kind: str
    record: dict[str, Any]


def is_streamed(entry: DatasetEntry, split: str) -> bool:
    """Return whether a split of a data set is an index of image files, which stay in their folder."""
    return entry.splits[split].reader == "image_index"
