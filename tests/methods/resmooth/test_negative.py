"""Jigsaw, quarter turns and blur: arrays of ReSmooth's code, slow references, statistics of the draws."""

import itertools
import math

import golden_files
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from reprood.core.errors import ReproodError
from reprood.images import rotations
from reprood.methods.cutmix import cutout_batch
from reprood.methods.resmooth import negative


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 3, size: int = 12, seed: int = 0) -> torch.Tensor:
    shape = (count, channels, size, size)
    return torch.randint(256, shape, generator=generator(seed), dtype=torch.int64).to(torch.uint8)


@pytest.mark.golden
def test_golden_jigsaw_cutout_and_rotation() -> None:
    arrays = golden_files.load("resmooth", "negative_aug_and_cutout")
    for case in range(int(arrays["n_jigsaw"])):
        get = {key.removeprefix(f"j{case}_"): value for key, value in arrays.items() if key.startswith(f"j{case}_")}
        images, order = torch.from_numpy(get["x"]).unsqueeze(0), torch.from_numpy(get["perm"]).unsqueeze(0)
        np.testing.assert_array_equal(negative.jigsaw(images, order, int(get["k"]))[0].numpy(), get["out"])
    for case in range(int(arrays["n_cutout"])):
        get = {key.removeprefix(f"k{case}_"): value for key, value in arrays.items() if key.startswith(f"k{case}_")}
        images, centre = torch.from_numpy(get["x"]).unsqueeze(0), torch.from_numpy(get["yx"]).view(1, 2)
        np.testing.assert_array_equal(cutout_batch(images, int(get["length"]), centre)[0].numpy(), get["out"])
    image = torch.from_numpy(arrays["rot_image"]).permute(2, 0, 1).unsqueeze(0)
    for turns in (1, 2, 3):
        turned = rotations.rotate(image, turns)[0].permute(1, 2, 0)
        np.testing.assert_array_equal(turned.numpy(), arrays[f"rot_{90 * turns}"])
        if image.shape[2] == image.shape[3]:
            assert torch.equal(rotations.rotate(image, torch.tensor([turns])), rotations.rotate(image, turns))


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_jigsaw_against_a_loop(parts) -> None:
    images = torch.randn(5, 2, 12, 24, generator=generator())
    order = torch.stack([torch.randperm(parts * parts, generator=generator(n)) for n in range(5)])
    slow = torch.empty_like(images)
    tall, wide = 12 // parts, 24 // parts
    for image, target, chosen in zip(images, slow, order.tolist(), strict=True):
        for row, column in itertools.product(range(parts), repeat=2):
            tile_row, tile_column = divmod(chosen[column * parts + row], parts)
            part = image[:, tile_row * tall : (tile_row + 1) * tall, tile_column * wide : (tile_column + 1) * wide]
            target[:, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide] = part
    assert torch.equal(negative.jigsaw(images, order, parts), slow)


def test_jigsaw_has_the_index_of_the_code() -> None:
    images = pictures(1)
    assert torch.equal(negative.jigsaw(images, torch.tensor([[0, 2, 1, 3]]), 2), images)
    exchanged = negative.jigsaw(images, torch.tensor([[0, 1, 2, 3]]), 2)
    assert torch.equal(exchanged[..., :6, 6:], images[..., 6:, :6])
    assert torch.equal(exchanged[..., :6, :6], images[..., :6, :6])


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_permutations_are_those_of_the_dictionary(count) -> None:
    rank = torch.arange(math.factorial(count))
    assert negative.permutations(rank, count).tolist() == [list(p) for p in itertools.permutations(range(count))]


def test_random_jigsaw_draws_all_orders_but_the_identity() -> None:
    images = torch.arange(4.0).view(1, 1, 2, 2).expand(23_000, 1, 2, 2)
    outcome = negative.random_jigsaw(images, generator(), 2).flatten(1)
    orders, counts = outcome.unique(dim=0, return_counts=True)
    assert len(orders) == 23
    assert [0, 2, 1, 3] not in orders.long().tolist()  # what the excluded identity would give
    assert [0, 1, 2, 3] in orders.long().tolist()
    assert int(counts.min()) > 800
    assert int(counts.max()) < 1200


def test_random_jigsaw_of_four_parts() -> None:
    outcome = negative.random_jigsaw(torch.arange(16.0).view(1, 1, 4, 4).expand(50, 1, 4, 4), generator(), 4)
    assert torch.equal(outcome.flatten(1).sort(1).values, torch.arange(16.0).expand(50, 16))
    assert len(outcome.flatten(1).unique(dim=0)) == 50


def test_quarter_turns_are_uniform_and_not_zero() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).expand(6000, 1, 2, 2)
    outcome, counts = negative.random_quarter_turn(images, generator()).flatten(1).unique(dim=0, return_counts=True)
    assert outcome.tolist() == [[1, 3, 0, 2], [2, 0, 3, 1], [3, 2, 1, 0]]
    assert int(counts.min()) > 1850


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_against_pillow_and_a_matrix(channels) -> None:
    smooth = pictures(4, channels, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    deviation = torch.tensor([0.6, 1.0, 1.5, 2.0])
    outcome = negative.blur(smooth, deviation, 6)
    place = np.clip(np.arange(-6, 38), 0, 31)
    for image, blurred, sigma in zip(smooth.double().numpy(), outcome.numpy(), deviation.tolist(), strict=True):
        kernel = np.exp(-0.5 * (np.arange(-6, 7) / sigma) ** 2)
        matrix = np.stack([np.bincount(place[i : i + 13], kernel / kernel.sum(), minlength=32) for i in range(32)])
        slow = matrix @ image @ matrix.T
        assert np.abs(blurred - slow).max() <= 0.51
        picture = Image.fromarray(image.astype(np.uint8)[0]).filter(ImageFilter.GaussianBlur(sigma))
        assert np.abs(np.asarray(picture).astype(float) - blurred[0]).mean() < 2.5
    # An image's outcome does not depend on the others of its batch.
    assert torch.equal(negative.blur(smooth[1:2], deviation[1:2], 6), outcome[1:2])


def test_blur_of_a_flat_image_changes_nothing() -> None:
    flat = torch.full((3, 1, 9, 9), 200, dtype=torch.uint8)
    assert torch.equal(negative.random_blur(flat, generator()), flat)


@pytest.mark.parametrize("name", ["random_jigsaw", "random_quarter_turn", "random_blur"])
def test_draws_are_the_generators(name) -> None:
    images = pictures(20)
    change = getattr(negative, name)
    before = images.clone()
    first, second, other = (change(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert first.dtype == images.dtype
    assert change(images[:0], generator()).shape == (0, 3, 12, 12)


def test_bad_input() -> None:
    with pytest.raises(ReproodError, match="12 x 12"):
        negative.jigsaw(pictures(), torch.zeros(6, 25, dtype=torch.int64), 5)
    with pytest.raises(ReproodError, match="2 to 4"):
        negative.random_jigsaw(pictures(), generator(), 5)
    with pytest.raises(ReproodError, match="square"):
        negative.random_quarter_turn(pictures()[..., :5], generator())
