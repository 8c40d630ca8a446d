"""Options that several commands share, and their parsing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from reprood.core.errors import ReproodError
from reprood.core.process import DEVICE

if TYPE_CHECKING:
    from pydantic import BaseModel

    from reprood.config.suite import Suite

Form = TypeVar("Form", bound="BaseModel")
Out = Annotated[Path, typer.Option("--out", help="File or folder to write.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]
Config = Annotated[list[str] | None, typer.Option("--config", help="KEY=VALUE as for `snakemake --config`.")]
ConfigFile = Annotated[
    list[Path] | None,
    typer.Option("--configfile", help="YAML file as for `snakemake --configfile`, over config/config.yaml."),
]
SuiteName = Annotated[str, typer.Option("--suite", help="Name or path of the suite; default: the configuration's.")]
Device = Annotated[str, typer.Option("--device", envvar=DEVICE, help="auto, cpu or cuda.")]


def parse(text: str, option: str) -> Any:
    """Parse a JSON option.

    Raises
    ------
    ReproodError
        If it is not valid JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReproodError(f"{option} is not valid JSON ({error}); copy it from `snakemake -n -p`.") from error


def parse_record(text: str, option: str, *keys: str) -> dict[str, Any]:
    """Parse a JSON option that is a mapping with at least certain keys.

    Raises
    ------
    ReproodError
        If it is not valid JSON, not a mapping, or a key is missing.
    """
    record = parse(text, option)
    missing = [key for key in keys if key not in record] if isinstance(record, dict) else list(keys)
    if missing or not isinstance(record, dict):
        raise ReproodError(
            f"{option} is no mapping with {', '.join(missing) or 'keys'}; copy it from `snakemake -n -p`."
        )
    return record


def validated(form: type[Form], value: Any, option: str) -> Form:
    """Validate a value of an option as a record.

    Raises
    ------
    ReproodError
        If a key or value is wrong; names the key.
    """
    from pydantic import ValidationError

    from reprood.core.messages import explain_validation

    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, option)) from error


def suite_of(text: str) -> "Suite":
    """Return the suite of the option `--suite`: JSON, or a file with it, as in the commands of the workflow."""
    from reprood.config.suite import Suite

    if not text.lstrip().startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ReproodError(f"--suite: {text[:200]} cannot be read ({error}); run the workflow again.") from error
    return validated(Suite, parse_record(text, "--suite", "name"), "--suite")


def unknown_name(what: str, name: str, known: list[str]) -> ReproodError:
    """Return the error for an unknown name: what it is, the closest known name, and the known ones.

    Examples
    --------
    >>> str(unknown_name("list", "suite", ["suites", "claims"]))
    "There is no list 'suite'; did you mean 'suites'? Choose one of suites, claims."
    """
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    guess = f" did you mean '{close[0]}'? Choose" if close else " choose"
    return ReproodError(f"There is no {what} '{name[:100]}';{guess} one of {', '.join(known)}.")


def configuration(
    suite: str = "", more: list[str] | None = None, files: list[Path] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return Snakemake's configuration, and its options for it.

    Parameters
    ----------
    suite : str
        The option `--suite`; "": the configuration's.
    more, files : list, optional
        The options `--config` and `--configfile`: over `config/config.yaml`, as in Snakemake.

    Raises
    ------
    ReproodError
        When a file is missing or no mapping, nothing names a suite, or a pair is not KEY=VALUE.
    """
    from collections.abc import Mapping

    from reprood.config.selection import command_line_values
    from reprood.core.mappings import merged
    from reprood.core.yaml import read_yaml

    pairs = [*([f"suite={suite}"] if suite else []), *(more or ())]
    usual = Path("config/config.yaml")
    if not usual.is_file() and not files and not suite:
        raise ReproodError(
            f"There is no {usual} in {Path.cwd()}; run this command in a checkout of reprood, in a folder that "
            "`reprood init` filled, or give --configfile."
        )
    layers: list[Mapping[str, Any]] = []
    for path in [*([usual] if usual.is_file() else []), *(files or ())]:
        content = read_yaml(path) or {}
        if not isinstance(content, Mapping):
            raise ReproodError(f"{path} is no mapping; expected keys as in config/config.yaml, such as 'suite: quick'.")
        layers.append(content)
    options = ["--configfile", *map(str, files)] if files else []
    settings = merged(*layers, command_line_values(pairs))
    if not isinstance(settings.get("datasets") or {}, Mapping):
        raise ReproodError("The configuration must contain data sets by name under 'datasets' ('name: {title: ...}').")
    return settings, [*options, *(["--config", *pairs] if pairs else [])]


def checkout() -> Path:
    """Return the working directory.

    Raises
    ------
    ReproodError
        When it is no checkout.
    """
    root = Path.cwd()
    if not (root / "Snakefile").is_file():
        raise ReproodError(
            f"There is no Snakefile in {root}; run this command in a checkout, or in a folder "
            "that `reprood init` filled."
        )
    return root
