"""What all commands share: JSON options, thread pinning, the output option."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from reprood.core.errors import ReproodError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from reprood.config.suite import Suite

Form = TypeVar("Form", bound="BaseModel")
Out = Annotated[Path, typer.Option("--out", help="What is written.")]


def parse(text: str, option: str) -> Any:
    """A JSON option; a mistake is one sentence."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReproodError(f"{option} is not valid JSON ({error}); copy it from `snakemake -n -p`.") from error


def parse_record(text: str, option: str, *keys: str) -> dict[str, Any]:
    """A JSON option that is a mapping with certain keys."""
    record = parse(text, option)
    lacking = [key for key in keys if key not in record] if isinstance(record, dict) else list(keys)
    if lacking or not isinstance(record, dict):
        raise ReproodError(
            f"{option} is no mapping with {', '.join(lacking) or 'keys'}; copy it from `snakemake -n -p`."
        )
    return record


def validated(form: type[Form], value: Any, option: str) -> Form:
    """A record of an option; a mistake is one sentence."""
    from pydantic import ValidationError

    from reprood.core.messages import explain_validation

    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise ReproodError(explain_validation(error, option)) from error


def suite_of(text: str) -> "Suite":
    """The suite of the option `--suite`."""
    from reprood.config.suite import Suite

    return validated(Suite, parse_record(text, "--suite", "name"), "--suite")
