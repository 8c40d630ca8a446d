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
    """Return the suite of the option `--suite`, which is JSON in the commands of the workflow."""
    from reprood.config.suite import Suite

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


def configuration(suite: str, more: list[str] | None) -> tuple[dict[str, Any], list[str]]:
    """Return Snakemake's configuration, and its options for it."""
    from reprood.config.selection import command_line_values
    from reprood.core.yaml import read_yaml

    pairs = [f"suite={suite}", *(more or ())]
    settings = {**(read_yaml(Path("config/config.yaml")) or {}), **command_line_values(pairs)}
    return settings, ["--config", *pairs]


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
