"""A method's settings: its paper's values, overridden by those of a suite."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reprood.core.errors import ReproodError

Form = TypeVar("Form", bound=BaseModel)


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with the values of `over`; nested mappings are merged key by key."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = overlaid(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def read_settings(form: type[Form], values: Mapping[str, Any], where: str) -> Form:
    """Return `form`'s defaults updated with `values`, validated.

    Raises
    ------
    ReproodError
        For an unknown key or an invalid value; names `where` and the key.
    """
    try:
        return form.model_validate(overlaid(form().model_dump(), values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "this setting is not known; correct or remove it"
        elif not isinstance(first.get("input"), Mapping):
            message += f" (given: {first.get('input')!r})"
        raise ReproodError(f"{where}: {f'{key}: ' if key else ''}{message}.") from None
