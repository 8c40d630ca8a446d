"""Sentences for people: validation errors explained, foreign text made safe to print.

Nothing computed depends on this module. Calls of its functions inside the message of an exception are outside every
fingerprint (see `reprood.pipeline.meaning`), so rewording an explanation re-runs nothing. The functions are therefore
pure and return text only.
"""

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST = 1200  # characters of a message
LISTED = 12  # known names that a message lists in full


def explain_validation(error: "ValidationError", where: str, known: Iterable[str] = (), *, within: str = "") -> str:
    """Describe the first problem of a validation in one sentence.

    Parameters
    ----------
    error : pydantic.ValidationError
        The failed validation.
    where : str
        File, option or run whose values were validated; the sentence begins with it.
    known : iterable of str
        The keys that are allowed, listed when a key is unknown.
    within : str
        Key of the validated value, if it is part of a larger record.

    Returns
    -------
    str
        The place, the key, what was expected and, where it helps, the given value.
    """
    first = error.errors()[0]
    key = ".".join([*([within] if within else []), *(str(part)[:80] for part in first["loc"])])
    message = first["msg"].removeprefix("Value error, ")
    allowed = ", ".join(known)
    if first["type"] == "extra_forbidden":
        message = "this key is not known; " + (
            f"choose from {allowed}" if allowed else "check its spelling or remove it"
        )
    elif first["type"] == "missing":
        message = "this key is missing; add it"
    elif key and not isinstance(first.get("input"), Mapping):
        given = reprlib.repr(first.get("input"))  # bounded: a YAML anchor may stand for millions of values
        message += f" (given: {given if len(given) < 80 else given[:77] + '...'})"
    more = len(error.errors()) - 1
    ending = f" ({more} more problem{'s' * (more > 1)} in it)." if more else "."
    return f"{where}: {key + ': ' if key else ''}{message}{ending}"


def printable(text: str, longest: int = LONGEST) -> str:
    """Return `text` as one line without control characters, shortened to `longest` characters."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= longest else f"{line[: longest - 6]} [...]."


def closest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the closest known one, and all of them if they are few.

    Examples
    --------
    >>> closest("cutmx", ["erm", "cutmix"])
    "did you mean 'cutmix'? Known: cutmix, erm"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near and len(names) > LISTED:
        return f"did you mean '{near[0]}'? {len(names)} names are known"
    listed = ", ".join(names)
    return f"did you mean '{near[0]}'? Known: {listed}" if near else f"known: {listed}"
