"""Reading the run configuration and the suites. Only the planner and the command line import this module."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprood.config.names import check_names
from reprood.config.settings import Settings
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation
from reprood.core.yaml import read_yaml


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
    record = read_yaml(path)
    if isinstance(record, Mapping) and (reserved := {"name", "folders", "palette"} & record.keys()):
        raise ReproodError(f"{path}: {min(reserved)}: this key is set by the workflow; remove it.")
    try:
        suite = Suite.model_validate({**record, "name": path.stem} if isinstance(record, Mapping) else record)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, str(path))) from error
    for name, benchmark in suite.benchmarks.items():
        check_names(benchmark, str(path), f"benchmarks.{name}")
    return suite
