"""Windows of images: each is a part of its image, and all places occur."""

import pytest
import torch

from reprood.core.errors import ReproodError
from reprood.images.crops import random_windows


def test_every_place_occurs_about_equally_often() -> None:
    whole = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    images = whole.repeat(3600, 2, 1, 1)
    windows = random_windows(images, 4, torch.Generator().manual_seed(0))
    assert windows.dtype == torch.uint8
    places = windows[:, 0, 0, 0]
    assert sorted(places.unique().tolist()) == [0, 1, 2, 6, 7, 8, 12, 13, 14]
    assert places.bincount().max() < 480  # 400 of each on average; 5 standard deviations
    expected = places.view(-1, 1, 1) + 6 * torch.arange(4).view(4, 1) + torch.arange(4)
    assert torch.equal(windows[:, 1].long(), expected)


def test_windows_larger_than_the_image_are_refused() -> None:
    with pytest.raises(ReproodError, match="Windows of 8 x 8 pixels do not fit into images of 6 x 6"):
        random_windows(torch.zeros(1, 1, 6, 6), 8, torch.Generator())
