"""Read the catalogue of data sets (`config/datasets.yaml`) and the user's own entries.

Separate from the records (`entries`), so that no data set is rebuilt when the reading of YAML or the wording of its
errors changes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.config.records import check_name
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation
from reprood.core.yaml import read_yaml
from reprood.data.entries import DatasetEntry


def parse_entry(name: str, value: Any, where: str = "data set") -> DatasetEntry:
    """Validate one entry.

    Raises
    ------
    ReproodError
        For an invalid entry; the message names the entry and the key.
    """
    try:
        check_name(name, "data set")
    except ValueError as error:
        raise ReproodError(f"{where}: {error}.") from error
    try:
        return DatasetEntry.model_validate(value)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, f"{where}: {name}")) from error


def load_catalogue(paths: Iterable[Path], extra: Mapping[str, Any]) -> dict[str, DatasetEntry]:
    """Read catalogue files and the user's own entries; later entries replace earlier ones of the same name.

    Raises
    ------
    ReproodError
        For an invalid file or entry; the message names the file, the entry and the key.
    """
    entries: dict[str, DatasetEntry] = {}
    for path in paths:
        content = read_yaml(path) or {}
        if not isinstance(content, Mapping):
            raise ReproodError(f"{path} must contain data sets by name ('name: {{title: ...}}').")
        for key, value in content.items():
            name = str(key)
            if not name.startswith("_"):  # names that start with an underscore hold shared parts
                entries[name] = parse_entry(name, value, str(path))
    for name, value in extra.items():
        entries[name] = parse_entry(name, value, "config: datasets")
    return entries
