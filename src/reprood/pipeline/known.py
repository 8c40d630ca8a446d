"""Check names that a suite gives, and suggest the closest known one."""

import difflib
from collections.abc import Iterable
from functools import cache

from reprood.core.errors import ReproodError
from reprood.core.registry import available, is_path, own_file

LONGEST = 12  # known names that a message lists in full
_modules = cache(available)


def closest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the closest known one, and all of them if they are few.

    Examples
    --------
    >>> closest("cutmx", ["erm", "cutmix"])
    "did you mean 'cutmix'? Known: cutmix, erm"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else ""
    listed = f"known: {', '.join(names)}" if len(names) <= LONGEST or not near else ""
    return f"{hint} {listed[:1].upper()}{listed[1:]}".strip() if hint else listed


def require(folder: str, name: str, attribute: str, where: str) -> None:
    """Check that a suite names a module that exists: one of the package, or a file of the user.

    Parameters
    ----------
    folder, name, attribute : str
        As in `reprood.core.registry.load`.
    where : str
        Suite and key, for the message.

    Raises
    ------
    ReproodError
        When there is none; the closest name is suggested.
    """
    if is_path(name):
        try:
            own_file(name, attribute)
        except ReproodError as error:
            raise ReproodError(f"{where}: {error}") from error
    elif name not in _modules(folder, attribute):
        hint = closest(name, _modules(folder, attribute))
        raise ReproodError(f"{where}: there is no '{name}' in reprood.{folder}; {hint}.")
