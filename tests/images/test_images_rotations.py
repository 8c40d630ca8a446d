"""Quarter turns and translations: direction, order, mirrored borders pixel by pixel, what cannot be translated."""

import numpy as np
import pytest
import torch
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.images.rotations import rotate, rotated_batch, translate


def pictures(count: int = 3, channels: int = 2, height: int = 5, width: int = 5) -> Tensor:
    """Every pixel of every image has its own value."""
    return torch.arange(count * channels * height * width).view(count, channels, height, width)


def test_turns_are_counter_clockwise() -> None:
    image = torch.tensor([[[[1, 2], [3, 4]]]])
    assert rotate(image, 1)[0, 0].tolist() == [[2, 4], [1, 3]]
    assert rotate(image, 2)[0, 0].tolist() == [[4, 3], [2, 1]]
    assert rotate(image, 3)[0, 0].tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 7, -1])
def test_turns_compose_and_come_round(turns: int) -> None:
    images, step = pictures(), pictures()
    for _ in range(turns % 4):
        step = rotate(step, 1)
    assert torch.equal(rotate(images, turns), step)
    assert torch.equal(rotate(images, torch.full((3,), turns)), step)
    assert torch.equal(rotate(rotate(images, turns), -turns), images)


def test_every_image_has_its_own_turn() -> None:
    images, turns = pictures(6), torch.tensor([0, 1, 2, 3, 1, 6])
    found = rotate(images, turns)
    for row, turn in enumerate(turns.tolist()):
        assert torch.equal(found[row], rotate(images[row : row + 1], turn)[0])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_in_all_turns(count: int) -> None:
    """All images turned by 0 first, then all by 1, and so on."""
    images = pictures(count)
    turned, labels = rotated_batch(images)
    assert turned.shape == (4 * count, 2, 5, 5)
    assert labels.tolist() == [turn for turn in range(4) for _ in range(count)]
    for place in range(4 * count):
        assert torch.equal(turned[place], rotate(images, place // count)[place % count])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
@pytest.mark.parametrize(("height", "width"), [(5, 5), (3, 6), (2, 2)])
def test_shifts_pixel_by_pixel(height: int, width: int, dtype: torch.dtype) -> None:
    """Against a walk that turns back at the outer pixels, also for shifts longer than the image."""

    def walked(place: int, size: int) -> int:
        while not 0 <= place < size:
            place = -place if place < 0 else 2 * (size - 1) - place
        return place

    shifts = torch.tensor([(dx, dy) for dx in (-9, -2, -1, 0, 1, 4) for dy in (-3, 0, 2, 11)])
    images = pictures(len(shifts), 2, height, width).remainder(251).to(dtype)
    found = translate(images, shifts[:, 0], shifts[:, 1])
    assert found.dtype == dtype
    wanted = torch.empty_like(images)
    for row, (dx, dy) in enumerate(shifts.tolist()):
        for y in range(height):
            for x in range(width):
                wanted[row, :, y, x] = images[row, :, walked(y - dy, height), walked(x - dx, width)]
    assert torch.equal(found, wanted)


def test_positive_shifts_go_right_and_down() -> None:
    image = torch.tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]])
    one, none = torch.tensor([1]), torch.tensor([0])
    assert translate(image, one, none)[0, 0].tolist() == [[2, 1, 2], [5, 4, 5], [8, 7, 8]]
    assert translate(image, none, one)[0, 0].tolist() == [[4, 5, 6], [1, 2, 3], [4, 5, 6]]


def test_border_as_numpy_reflects_it() -> None:
    image = np.random.default_rng(0).random((6, 6))
    padded = np.pad(image, 3, mode="reflect")
    found = translate(torch.from_numpy(image)[None, None], torch.tensor([3]), torch.tensor([-2]))
    np.testing.assert_array_equal(found[0, 0], padded[5:11, 0:6])


def test_nothing_changes_in_place() -> None:
    images = pictures()
    kept = images.clone()
    rotated_batch(images)[0].zero_()
    rotate(images, torch.zeros(3, dtype=torch.int64)).zero_()
    translate(images, *torch.zeros(2, 3, dtype=torch.int64)).zero_()
    assert torch.equal(images, kept)


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 1, 4, 1)])
def test_a_line_of_one_pixel_has_no_mirror_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ReproodError, match="cannot be translated with mirrored borders"):
        translate(torch.zeros(shape), torch.tensor([1]), torch.tensor([0]))


def test_images_that_are_not_square_are_rotated_together_only() -> None:
    images = torch.arange(24).view(1, 1, 4, 6)
    assert rotate(images, 1).shape == (1, 1, 6, 4)
    with pytest.raises(ReproodError, match="4 x 6 pixels cannot be rotated"):
        rotate(images, torch.tensor([2]))
