"""Find a backbone by its name, which is that of its file in `reprood/nets/`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from reprood.core.registry import available, load

if TYPE_CHECKING:
    from torch import nn


def backbones() -> tuple[str, ...]:
    """Return the names that `backbone: {name: ...}` may take, without importing torch."""
    return available("nets", "build")


def backbone(name: str) -> "Callable[..., nn.Module]":
    """Import a backbone and return its function `build(channels, **options)`.

    Raises
    ------
    ReproodError
        If there is no such backbone; lists those there are.
    """
    build: Callable[..., nn.Module] = load("nets", name, "build")
    return build
