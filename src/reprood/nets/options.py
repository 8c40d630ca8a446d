"""Validation of the options of a network: unknown or impossible ones end in one clear sentence."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from reprood.core.errors import ReproodError


class Options(BaseModel):
    """Base of every network's options: frozen, unknown names rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Form = TypeVar("Form", bound=Options)


def read_options(form: type[Form], network: str, channels: int, options: Mapping[str, Any]) -> Form:
    """Validate `options` for `network`.

    Raises
    ------
    ReproodError
        For an unknown option, a value of the wrong type or range, or fewer than one input channel.
    """
    if channels < 1:
        raise ReproodError(f"Network '{network}' cannot have {channels} input channels; expected 1 or more.")
    try:
        return form.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"there is no such option; choose from {', '.join(form.model_fields)}"
        option = f"option '{where}'" if where else "options"
        raise ReproodError(f"Network '{network}', {option}: {message}. Correct the backbone in the suite.") from None
