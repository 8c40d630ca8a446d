"""Check names that a suite gives, and suggest the closest known one."""

from functools import cache

from reprood.core.errors import ReproodError
from reprood.core.messages import closest
from reprood.core.registry import available, is_path, own_file

_modules = cache(available)


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
