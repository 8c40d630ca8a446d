"""Reading the run configuration and the suites. Only the planner and the command line import this module."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.config.names import check_names
from reprood.config.settings import Settings
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.mappings import merged
from reprood.core.messages import closest, explain_validation
from reprood.core.yaml import read_yaml

# Keys of a suite that its file cannot have.
RESERVED = {"name", "folders", "palette", "drawn", "replicates", "papers", "selection", "substitutes"}


def load_settings(values: Mapping[str, Any], where: str = "config/config.yaml") -> Settings:
    """Validate the run configuration.

    Parameters
    ----------
    values : mapping
        Content of `config/config.yaml`, with the command line's overrides.
    where : str
        Name of the file, for the message.

    Raises
    ------
    ReproodError
        For an unknown key or an impossible value; names the key.
    """
    unknown = [str(key) for key in values if key not in Settings.model_fields]
    if unknown:
        raise ReproodError(
            f"{where}: {unknown[0]}: this key is not known; {closest(unknown[0], Settings.model_fields)}."
        )
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise ReproodError(explain_validation(error, where)) from error


def suite_path(name: str, root: Path) -> Path:
    """Return the path of a suite's file: `config/suites/<name>.yaml`, or `name` itself if it is a path.

    Parameters
    ----------
    name : str
        Name or path of the suite.
    root : Path
        The checkout.

    Raises
    ------
    ReproodError
        When there is no such suite; lists the known ones.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else root / "config" / "suites" / f"{name}.yaml"
    try:
        exists = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        exists = False
    if not exists:
        known = ", ".join(sorted(p.stem for p in (root / "config" / "suites").glob("*.yaml")))
        raise ReproodError(
            f"There is no suite '{name[:200]}' ({str(path)[-200:]}); known suites: {known}; or give the path of a YAML "
            "file."
        )
    return path


def read_suite(path: Path, root: Path, below: tuple[Path, ...] = ()) -> Any:
    """Read a suite's file, laid over the suite that it extends.

    Mappings are merged key by key, `runs` are appended, everything else is replaced.

    Parameters
    ----------
    path : Path
        The file.
    root : Path
        The checkout.
    below : tuple of Path
        The files that extend this one, the first one first.

    Raises
    ------
    ReproodError
        When a suite extends one that does not exist, or itself.
    """
    record = read_yaml(path)
    if not isinstance(record, Mapping) or "extends" not in record:
        return record
    name = record["extends"]
    if not isinstance(name, str):
        raise ReproodError(f"{path}: extends is {name!r}; expected the name or the path of a suite.")
    try:
        base = suite_path(name, root)
    except ReproodError as error:
        raise ReproodError(f"{path}: extends: {error}") from error
    chain = (*below, path)
    if base.resolve() in [one.resolve() for one in chain]:
        names = " -> ".join(one.stem for one in (*chain, base))
        raise ReproodError(f"{path}: suites extend each other in a circle ({names}); remove one 'extends'.")
    first = read_suite(base, root, chain)
    own = {key: value for key, value in record.items() if key != "extends"}
    if not isinstance(first, Mapping):
        return own
    runs = [part["runs"] for part in (first, own) if isinstance(part.get("runs"), list)]
    return merged(first, own) | ({"runs": [group for groups in runs for group in groups]} if runs else {})


def _boolean_classes(value: Any, key: str = "") -> str:
    """Return the first key `classes` in a record that lists true or false, which would be read as 1 and 0; else ""."""
    if not isinstance(value, Mapping):
        return ""
    for name, inner in value.items():
        own = f"{key}.{name}" if key else str(name)
        if name == "classes" and isinstance(inner, list) and any(isinstance(one, bool) for one in inner):
            return own
        if found := _boolean_classes(inner, own):
            return found
    return ""


def load_suite(name: str, root: Path) -> Suite:
    """Read and validate a suite.

    Parameters
    ----------
    name : str
        Name or path of the suite.
    root : Path
        The checkout.

    Raises
    ------
    ReproodError
        For a missing file, a wrong key or value, and for an unknown style, corruption or detector; names the file and
        the key.
    """
    path = suite_path(name, root)
    return make_suite(read_suite(path, root), path)


def make_suite(record: Any, path: Path) -> Suite:
    """Validate the record of a suite, as `read_suite` returns it; `path` is its file.

    Raises
    ------
    ReproodError
        As `load_suite`.
    """
    if isinstance(record, Mapping) and (reserved := RESERVED & record.keys()):
        raise ReproodError(f"{path}: {min(reserved)}: this key is set by the workflow; remove it.")
    if wrong := _boolean_classes(record):
        raise ReproodError(f"{path}: {wrong}: classes are listed by number; write 1 and 0 for true and false.")
    try:
        suite = Suite.model_validate({**record, "name": path.stem} if isinstance(record, Mapping) else record)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(path))) from error
    for name, benchmark in suite.benchmarks.items():
        check_names(benchmark, str(path), f"benchmarks.{name}")
    return suite
