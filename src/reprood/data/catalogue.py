"""The catalogue: for every data set where it is published, how it is read, whose it is. Records only, no work."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from reprood.config.records import Line, Record, check_name
from reprood.core.errors import ReproodError
from reprood.core.yaml import explain, read_yaml

Reader = Literal[
    "idx", "cifar_binary", "svhn_mat", "image_folder", "tiny_imagenet", "mvtec", "parquet", "npz", "npy", "npy_archive",
    "digits_csv", "generator",
]  # fmt: skip


class Package(Record):
    """A package that holds a file.

    Attributes
    ----------
    kind : {"debian", "wheel"}
    name, version : str
        As the package index has them; an empty version takes the current one.
    member : str
        Path of the file inside the package.
    """

    kind: Literal["debian", "wheel"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]*$")  # an option or an address would steer the installer
    version: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9+.:~_-]*)?$")
    member: str


class File(Record):
    """A file (or folder) a data set is read from.

    Attributes
    ----------
    path : str
        On this machine; for the user's own data sets.
    urls : tuple of str
        Official addresses, tried in order.
    size : int
        Bytes.
    md5, sha256 : str
        Of the file as published. A file without a digest is recorded at first use and compared from then on.
    content_sha256 : str
        Of the decompressed content, for files whose wrapping differs between sources.
    packages : tuple of Package
        Tried after the addresses.
    """

    path: str = Field(default="", max_length=1000)
    urls: tuple[str, ...] = ()
    size: int | None = Field(default=None, ge=1)
    md5: str = Field(default="", pattern=r"^([0-9a-f]{32})?$")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    content_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    packages: tuple[Package, ...] = ()

    @model_validator(mode="after")
    def _addresses(self) -> "File":
        for url in self.urls:
            if not url.startswith(("http://", "https://")) or not url.isprintable() or " " in url:
                raise ValueError(f"'{url}' is no address; it must begin with https:// or http:// and hold no blank")
        return self


class SplitEntry(Record):
    """How one split is read: the reader, the files it needs (names in `files`), its options."""

    reader: Reader
    files: tuple[str, ...] = ()
    options: dict[str, Any] = {}


class DatasetEntry(Record):
    """One data set.

    Attributes
    ----------
    title, licence, citation, homepage, note : str
    classes : tuple of str
        Names by label; taken from the data when left out.
    size : int
        Side to which images of varying size are brought (shorter side, centre crop).
    channels : {1, 3}
        Stored channels; None keeps what a fixed format has (3 for encoded images).
    published_resize : bool
        The publisher resized the images by a rule of its own; benchmarks must allow it by name.
    files : dict of File
        By file name; a mirror has them as <mirror>/<data set>/<file name> or <mirror>/<file name>.
    splits : dict of SplitEntry
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
    def _files_exist(self) -> "DatasetEntry":
        for name in self.files:
            if "/" in name or name.startswith((".", "-")) or not name.isprintable() or not 0 < len(name) <= 200:
                raise ValueError(
                    f"the file name '{name[:200]}' must be a plain name; a place goes under 'path' or 'urls'"
                )
        for name in self.splits:
            check_name(name, "split")
        for name, split in self.splits.items():
            for file in split.files:
                if file not in self.files:
                    raise ValueError(f"split {name} reads '{file}', which is not under files: {', '.join(self.files)}")
            if split.reader != "generator" and not split.files:
                raise ValueError(f"split {name} has the reader {split.reader} and no files")
        return self


def parse_entry(name: str, value: Any, where: str = "data set") -> DatasetEntry:
    """Validate one entry.

    Raises
    ------
    ReproodError
        One sentence that names the entry and the key.
    """
    try:
        check_name(name, "data set")
    except ValueError as error:
        raise ReproodError(f"{where}: {error}.") from error
    try:
        return DatasetEntry.model_validate(value)
    except ValidationError as error:
        raise explain(error, f"{where}: {name}") from error


def load_catalogue(paths: Iterable[Path], extra: Mapping[str, Any]) -> dict[str, DatasetEntry]:
    """Read catalogue files and the user's own entries; later ones replace earlier ones of the same name.

    Raises
    ------
    ReproodError
        One sentence that names the file, the entry and the key.
    """
    entries: dict[str, DatasetEntry] = {}
    for path in paths:
        content = read_yaml(path) or {}
        if not isinstance(content, Mapping):
            raise ReproodError(f"{path} must hold data sets by name ('name: {{title: ...}}').")
        for key, value in content.items():
            name = str(key)
            if not name.startswith("_"):  # names with an underscore in front hold shared parts
                entries[name] = parse_entry(name, value, str(path))
    for name, value in extra.items():
        entries[name] = parse_entry(name, value, "config: datasets")
    return entries
