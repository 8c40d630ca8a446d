"""Find a study by its name, which is that of its file in `reprood/studies/`."""

from typing import TYPE_CHECKING, Any

from reprood.core.registry import available, load

if TYPE_CHECKING:
    from reprood.studies.base import Study


def studies() -> tuple[str, ...]:
    """Return the names that a suite's study may `use`, without importing torch."""
    return available("studies", "STUDY")


def study(name: str) -> "Study[Any]":
    """Import a study and return its record.

    Raises
    ------
    ReproodError
        If there is no such study; lists those there are.
    """
    record: Study[Any] = load("studies", name, "STUDY")
    return record
