"""Find a method by its name, which is that of its file or folder in `reprood/methods/`."""

from typing import TYPE_CHECKING, Any

from reprood.core.registry import available, keywords, load

if TYPE_CHECKING:
    from reprood.methods.base import Method


def methods() -> tuple[str, ...]:
    """Return the names that a suite may `use`, without importing torch."""
    return available("methods", "METHOD")


def fits_on_train(method: str) -> bool:
    """Return whether a method's own scores need the training images, without importing torch."""
    return "fit_on_train" in keywords("methods", method, "METHOD")


def method(name: str) -> "Method[Any, Any]":
    """Import a method and return its record.

    Raises
    ------
    ReproodError
        If there is no such method; lists those there are.
    """
    record: Method[Any, Any] = load("methods", name, "METHOD")
    return record
