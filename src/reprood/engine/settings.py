"""A method's settings: its paper's values, overridden by those of a suite."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reprood.core.errors import ReproodError
from reprood.core.mappings import merged
from reprood.core.messages import explain_validation

Form = TypeVar("Form", bound=BaseModel)


def read_settings(form: type[Form], values: Mapping[str, Any], where: str) -> Form:
    """Return `form`'s defaults updated with `values`, validated.

    Raises
    ------
    ReproodError
        For an unknown key or an invalid value; names `where` and the key.
    """
    try:
        return form.model_validate(merged(form().model_dump(), values))
    except ValidationError as error:
        raise ReproodError(explain_validation(error, where, form.model_fields)) from None
