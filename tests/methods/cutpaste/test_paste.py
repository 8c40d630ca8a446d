"""CutPaste's patches and 8-bit jitter: reference values, Pillow and torchvision pixel by pixel, seeds, errors."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv
from golden_files import load
from PIL import Image
from torch import Generator, Tensor

from reprood.core.errors import ReproodError
from reprood.methods.cutpaste import fill, jitter
from reprood.methods.cutpaste import paste as cutpaste
from reprood.methods.cutpaste.paste import Boxes

OPERATIONS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


def generator(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def cases(name: str) -> Iterator[dict[str, np.ndarray]]:
    arrays = load("cutpaste", name)
    for case in range(int(arrays["n_cases"])):
        prefix = f"c{case}_"
        yield {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def as_batch(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(image, 2, 0).copy())[None]


def as_image(batch: Tensor) -> np.ndarray:
    return np.moveaxis(batch[0].numpy(), 0, 2)


def floored(value: np.ndarray) -> Tensor:
    return torch.tensor([int(np.floor(value))])


def noise(count: int = 5, channels: int = 3, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator(seed))


# --- jitter ---


@pytest.mark.golden
def test_jitter_reference() -> None:
    for case in cases("color_jitter"):
        factors = torch.tensor([[float(case[name]) for name in ("brightness", "contrast", "saturation", "hue")]])
        actual = jitter.jitter(as_batch(case["patch"]), factors.double(), torch.from_numpy(case["order"])[None])
        assert np.abs(as_image(actual).astype(int) - case["output"]).max() <= 1


@pytest.mark.golden
def test_jitter_ranges_reference() -> None:
    arrays = load("cutpaste", "color_jitter")
    grey = torch.full((4000, 3, 1, 1), 100, dtype=torch.uint8)
    low, high = arrays["range_brightness"]
    amount = float(high - low) / 2
    levels = jitter.random_jitter(grey, generator(), amount)[:, 0, 0, 0]
    assert (int(levels.min()), int(levels.max())) == (int(100 * low), int(100 * high) - 1)
    np.testing.assert_allclose(arrays["range_brightness"], [1 - amount, 1 + amount])
    np.testing.assert_allclose(arrays["range_hue"], [-amount, amount])


@pytest.mark.parametrize("change", range(4))
def test_each_change_is_pillows(change: int) -> None:
    """Bit for bit, on all grey levels and saturated colours."""
    rng = np.random.default_rng(change)
    image = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    image[:8] = image[:8, :, :1]  # grey
    image[8:12] = rng.choice([0, 255], (4, 48, 3))
    functions = (jitter.adjust_brightness, jitter.adjust_contrast, jitter.adjust_saturation, jitter.adjust_hue)
    for amount in (-0.5, -0.07, 0.0, 0.03, 0.1, 0.5):
        factor = amount if change == jitter.HUE else 1 + amount
        expected = np.asarray(OPERATIONS[change](Image.fromarray(image), factor))
        actual = functions[change](as_batch(image), torch.tensor([factor], dtype=torch.float64))
        np.testing.assert_array_equal(as_image(actual), expected)


@pytest.mark.parametrize("red", [0, 1, 77, 128, 254, 255])
def test_hue_of_every_green_and_blue_is_pillows(red: int) -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    green, blue = torch.meshgrid(levels, levels, indexing="ij")
    images = torch.stack((torch.full_like(green, red), green, blue))[None]
    for shift in (-0.5, -0.1, 0.003, 0.0, 0.3):
        expected = tv.adjust_hue(Image.fromarray(as_image(images)), shift)
        actual = jitter.adjust_hue(images, torch.tensor([shift], dtype=torch.float64))
        np.testing.assert_array_equal(as_image(actual), np.asarray(expected))


def test_jitter_of_grey_images_is_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    factors = torch.tensor([[1.07, 0.93, 1.5, 0.2]], dtype=torch.float64)
    actual = jitter.jitter(torch.from_numpy(image)[None, None], factors, torch.tensor([[3, 1, 2, 0]]))
    expected = tv.adjust_brightness(tv.adjust_contrast(Image.fromarray(image), 0.93), 1.07)
    np.testing.assert_array_equal(actual[0, 0].numpy(), np.asarray(expected))


def test_each_image_has_its_own_order_and_region() -> None:
    images = noise(6, size=12)
    draws = torch.rand((2, 6, 4), generator=generator(3), dtype=torch.float64)
    factors, order = 0.7 + 0.6 * draws[0], draws[1].argsort(1)
    factors[:, 3] = draws[0][:, 3] - 0.5
    region = torch.zeros(6, 12, 12, dtype=torch.bool)
    region[:, 2:9, 3:7] = True
    actual = jitter.jitter(images, factors, order, region)
    for row in range(6):
        patch = Image.fromarray(np.moveaxis(images[row, :, 2:9, 3:7].numpy(), 0, 2))
        for change in order[row].tolist():
            patch = OPERATIONS[change](patch, float(factors[row, change]))
        np.testing.assert_array_equal(np.moveaxis(actual[row, :, 2:9, 3:7].numpy(), 0, 2), np.asarray(patch))


def test_jitter_repeats_and_refuses() -> None:
    images = noise()
    assert torch.equal(jitter.random_jitter(images, generator(1), 0.1), jitter.random_jitter(images, generator(1), 0.1))
    assert not torch.equal(
        jitter.random_jitter(images, generator(1), 0.1), jitter.random_jitter(images, generator(2), 0.1)
    )
    grey = noise(channels=1)
    assert torch.equal(jitter.random_jitter(grey, generator(), 0.0), grey)
    with pytest.raises(ReproodError, match="takes 0 to 0.5"):
        jitter.random_jitter(images, generator(), 0.6)
    with pytest.raises(ReproodError, match=r"uint8 images of 1 or 3 channels.*float32 with 3"):
        jitter.random_jitter(images.float(), generator(), 0.1)
    with pytest.raises(ReproodError, match="with 2"):
        jitter.random_jitter(noise(channels=2), generator(), 0.1)


# --- patches ---


@pytest.mark.golden
def test_large_patch_reference() -> None:
    for case in cases("cutpaste_normal"):
        image = as_batch(case["image"])
        area, aspect = (torch.from_numpy(case[f"draw_{name}"][None]) for name in ("area_ratio", "log_aspect"))
        height, width = cutpaste.rectangle_sizes(area, aspect, *image.shape[2:])
        assert (int(height), int(width)) == (int(case["cut_height"]), int(case["cut_width"]))
        row, column, top, left = (floored(case[f"draw_{n}"]) for n in ("from_row", "from_col", "to_row", "to_col"))
        assert [int(v) for v in (row, column, top, left)] == [
            int(case[n]) for n in ("from_row", "from_col", "to_row", "to_col")
        ]
        actual = cutpaste.paste(image, image, Boxes(row, column, height, width), torch.zeros(1), top, left)
        np.testing.assert_array_equal(as_image(actual), case["augmented"])


@pytest.mark.golden
def test_scar_reference() -> None:
    for case in cases("cutpaste_scar"):
        image = as_batch(case["image"])
        height, width = (torch.from_numpy(case[f"draw_{n}"][None]).round().long() for n in ("height", "width"))
        assert (int(height), int(width)) == (int(case["crop_height"]), int(case["crop_width"]))
        row, column, top, left = (floored(case[f"draw_{n}"]) for n in ("from_row", "from_col", "to_row", "to_col"))
        degrees = torch.from_numpy(case["rotation_degrees_ccw"][None])
        boxes = Boxes(row, column, height, width)
        rows, columns, _ = cutpaste.rotated_canvas(height, width, degrees)
        alpha = case["rotated_alpha"]
        assert (int(rows), int(columns)) == alpha.shape
        actual = cutpaste.paste(image, image, boxes, degrees, top, left)
        np.testing.assert_array_equal(as_image(actual), case["augmented"])
        # The turned patch itself: pasted onto empty images of two grey levels, whose untouched pixels differ.
        canvas = torch.zeros_like(image), torch.full_like(image, 255)
        zero = torch.zeros(1, dtype=torch.int64)
        patches = [as_image(cutpaste.paste(c, image, boxes, degrees, zero, zero)) for c in canvas]
        inside = slice(0, alpha.shape[0]), slice(0, alpha.shape[1])
        shown = (patches[0] == patches[1]).all(-1)
        np.testing.assert_array_equal(shown[inside], alpha > 0)
        np.testing.assert_array_equal(patches[0][inside][alpha > 0], case["rotated_rgb"][alpha > 0])
        assert not shown[alpha.shape[0] :].any()


def test_turned_patches_are_pillows() -> None:
    """A batch of sizes, angles and places, over the borders too, against Pillow image by image."""
    rng, count, size = np.random.default_rng(0), 60, 40
    images = noise(count, size=size)
    height, width = rng.integers(1, 20, count), rng.integers(1, 20, count)
    row, column = rng.integers(0, size - height), rng.integers(0, size - width)
    degrees = rng.uniform(-180, 180, count)
    degrees[:5] = (0, 45, -45, 360, 0.001)  # exact quarter turns are a case of their own in Pillow
    top, left = rng.integers(-8, size, count), rng.integers(-8, size, count)
    boxes = Boxes(*(torch.from_numpy(v) for v in (row, column, height, width)))
    actual = cutpaste.paste(
        images, images, boxes, torch.from_numpy(degrees), torch.from_numpy(top), torch.from_numpy(left)
    )
    for i in range(count):
        whole = Image.fromarray(np.moveaxis(images[i].numpy(), 0, 2))
        patch = whole.crop((column[i], row[i], column[i] + width[i], row[i] + height[i])).convert("RGBA")
        patch = patch.rotate(degrees[i], expand=True)
        expected = whole.copy()
        expected.paste(patch, (int(left[i]), int(top[i])), mask=patch.split()[-1])
        np.testing.assert_array_equal(np.moveaxis(actual[i].numpy(), 0, 2), np.asarray(expected), err_msg=str(i))


def test_sources_and_boxes() -> None:
    images, source = noise(3, 1, 16), noise(3, 1, 16, seed=1)
    boxes = Boxes(
        *torch.tensor([[1, 2, 3], [4, 0, 2], [5, 16, 1], [3, 16, 1]]).sub(torch.tensor([[0, 2, 0]] + [[0] * 3] * 3))
    )
    zero = torch.zeros(3, dtype=torch.int64)
    actual = cutpaste.paste(images, source, boxes, torch.zeros(3), zero, zero)
    assert torch.equal(actual[0, 0, :5, :3], source[0, 0, 1:6, 4:7])
    assert torch.equal(actual[0, 0, 5:], images[0, 0, 5:])
    assert torch.equal(actual[1], source[1])  # the whole image
    assert boxes.mask(16, 16).sum((1, 2)).tolist() == [15, 256, 1]
    assert bool(boxes.mask(16, 16)[0, 1:6, 4:7].all())


def test_a_bound_on_the_canvas_changes_nothing() -> None:
    images, source, draws = noise(16), noise(16, seed=1), generator(2)
    height, width = (torch.randint(1, 20, (16,), generator=draws) for _ in range(2))
    row, column = (torch.randint(0, 12, (16,), generator=draws) for _ in range(2))
    top, left = (torch.randint(-8, 36, (16,), generator=draws) for _ in range(2))  # many hang over the border
    degrees = 180 * torch.rand(16, generator=draws) - 90
    boxes = Boxes(row, column, height, width)
    sizes = cutpaste.rotated_canvas(height, width, degrees)[:2]
    canvas = int(sizes[0].max()), int(sizes[1].max())
    whole = cutpaste.paste(images, source, boxes, degrees, top, left)
    assert canvas < (32, 32)
    assert not torch.equal(whole, images)
    assert torch.equal(cutpaste.paste(images, source, boxes, degrees, top, left, canvas), whole)


@pytest.mark.parametrize("paste", [cutpaste.random_cutpaste, cutpaste.random_scar])
def test_no_images(paste) -> None:
    assert paste(noise(0), generator()).shape == (0, 3, 32, 32)


def test_aspect_laws() -> None:
    draws = torch.rand((2, 20000), generator=generator(), dtype=torch.float64)
    logs = cutpaste.log_aspects(draws[0], draws[1], (0.3, 1 / 0.3), "log")
    assert float(logs.mean()) == pytest.approx(0, abs=0.02)
    assert float(logs.abs().max()) == pytest.approx(np.log(1 / 0.3), abs=0.01)
    aspects = cutpaste.log_aspects(draws[0], draws[1], (0.3, 3.3), "intervals").exp()
    assert float((aspects < 1).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert float(aspects[aspects < 1].mean()) == pytest.approx(0.65, abs=0.02)
    assert float(aspects[aspects > 1].mean()) == pytest.approx(2.15, abs=0.03)


@pytest.mark.parametrize("channels", [1, 3])
def test_random_patches_stay_in_bounds_and_repeat(channels: int) -> None:
    count, size = 400, 64
    # Every pixel of a channel has a colour of its own, so that a change cannot hide.
    images = noise(count, channels, size)
    for draw, low, high in (
        (lambda g: cutpaste.random_cutpaste(images, g, strength=0.0), 0.02, 0.15),
        (lambda g: cutpaste.random_scar(images, g, (2, 5), (8, 20), strength=0.0), 2 * 8 / size**2, 5 * 20 / size**2),
    ):
        changed = draw(generator(1))
        assert torch.equal(changed, draw(generator(1)))
        assert not torch.equal(changed, draw(generator(2)))
        share = (changed != images).any(1).double().mean((1, 2))
        assert float(share.max()) <= 1.15 * high
        assert float(share.mean()) > low
        assert float((share > 0).double().mean()) > 0.98


def test_jitter_changes_the_patch_alone() -> None:
    images = noise(30, 3, 32)
    for function in (cutpaste.random_cutpaste, lambda *a, **k: cutpaste.random_scar(*a, (2, 5), (8, 20), **k)):
        plain = function(images, generator(1), strength=0.0)
        coloured = function(images, generator(1), strength=0.1)
        touched = (coloured != images).any(1)
        assert float((plain != coloured).double().mean()) > 0
        assert bool(((plain != images).any(1) | ~touched).double().mean() > 0.99)


def test_floats_without_jitter() -> None:
    images = torch.randn(4, 1, 32, 32, generator=generator())
    assert cutpaste.random_cutpaste(images, generator(), strength=0.0).dtype == torch.float32
    with pytest.raises(ReproodError, match="uint8"):
        cutpaste.random_cutpaste(images, generator())


def test_scars_that_do_not_fit() -> None:
    with pytest.raises(ReproodError, match="16 x 25 pixels do not fit into 24 x 24"):
        cutpaste.random_scar(noise(2, 1, 24), generator())


# --- patches that are not cut from images ---


def changed(images: Tensor, copies: Tensor) -> Tensor:
    return (images != copies).any(1)


@pytest.mark.parametrize("fill_with", ["grey", "mean", "colour"])
def test_cutout(fill_with) -> None:
    images = noise(40, size=64)
    copies = fill.random_cutout(images, generator(1), fill=fill_with)
    for image, copy, inside in zip(images, copies, changed(images, copies), strict=True):
        rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
        patch = copy[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert 0.015 < patch[0].numel() / 64**2 < 0.155
        assert (patch == patch[:, :1, :1]).all()
        expected = {"grey": [128] * 3, "mean": image.float().mean((1, 2)).round().tolist()}.get(fill_with)
        assert expected is None or patch[:, 0, 0].tolist() == expected
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) == 40


def test_confetti_keeps_the_texture() -> None:
    images = noise(40, size=64) // 8 + 112
    copies = fill.random_confetti(images, generator(1))
    for image, copy, inside in zip(images, copies, changed(images, copies), strict=True):
        moved = copy[:, inside].int() - image[:, inside].int()
        clipped = (copy[:, inside] == 0) | (copy[:, inside] == 255)
        for channel in range(3):
            assert len(torch.unique(moved[channel][~clipped[channel]])) <= 1


def test_coloured_scars_have_one_colour_and_the_shape_of_scars() -> None:
    images = torch.zeros((60, 3, 64, 64), dtype=torch.uint8)
    copies = fill.random_colour_scar(images, generator(2), (2, 5), (8, 20))
    sizes = []
    for copy in copies:
        drawn = copy[:, (copy > 0).any(0)]
        assert (drawn == drawn[:, :1]).all()
        sizes.append(drawn.shape[1])
    assert max(sizes) <= 5 * 20 * 1.2
    assert min(sizes) >= 8
    assert len({tuple(copy.amax((1, 2)).tolist()) for copy in copies}) > 50
