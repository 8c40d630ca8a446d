"""Holes: their size, their place, what is left alone."""

import pytest
import torch

from reprood.core.errors import ReproodError
from reprood.predict.occlude import occlude


def images() -> torch.Tensor:
    return torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(0)) + 1


@pytest.mark.parametrize("side", [0, 1, 4, 8])
def test_areas(side: int) -> None:
    whole = images()
    for where, hidden in (("center", side**2), ("boundary", 72 - side**2)):
        found = occlude(whole, side, where)
        assert int((found == 0).sum()) == 6 * hidden
        assert torch.equal(found[found != 0], whole[found != 0])
    assert torch.equal(occlude(whole, side, "center") + occlude(whole, side, "boundary"), whole)


def test_place() -> None:
    hole = occlude(images(), 4, "center")[0, 0] == 0
    rows, columns = hole.nonzero().amin(0).tolist(), hole.nonzero().amax(0).tolist()
    assert (rows, columns) == ([2, 2], [5, 5])


def test_mistakes() -> None:
    with pytest.raises(ReproodError, match="A hole of 9 pixels does not fit into images of 9 x 8"):
        occlude(images(), 9, "center")
    with pytest.raises(ReproodError, match="not 'corner'"):
        occlude(images(), 2, "corner")
