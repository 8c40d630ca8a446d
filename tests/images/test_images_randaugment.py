"""RandAugment of whole batches against Pillow, one image at a time, and against arrays of the published code."""

import math
from collections.abc import Callable

import golden_files
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from reprood.core.errors import ReproodError
from reprood.images import randaugment_ops as ops
from reprood.images.randaugment import (
    HOOD_TABLE,
    RESMOOTH_SEVERE_TABLE,
    RESMOOTH_TABLE,
    Draws,
    Table,
    apply,
    draw,
    randaugment,
)

TABLES = {"resmooth": RESMOOTH_TABLE, "severe": RESMOOTH_SEVERE_TABLE, "hood": HOOD_TABLE}


def pictures(count: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    """Noise of different ranges, smooth pictures, a flat one and a nearly flat one."""
    source = np.random.default_rng(seed)
    batch = source.integers(0, 256, (count, channels, size, size))
    ramp = np.linspace(0, 1, size)
    for number in range(count):
        if number % 3 == 0:
            low = source.integers(0, 200)
            batch[number] = low + batch[number] * source.integers(1, 255 - low) // 255
        elif number % 3 == 1:
            phase = source.uniform(0, 6, (channels, 1, 1))
            batch[number] = 128 + 120 * np.sin(7 * ramp[:, None] + 5 * ramp**2 + phase)
    batch[0] = 77
    if count > 1:
        batch[1] = 10
        batch[1, :, 3, 4] = 12
    return torch.from_numpy(batch.astype(np.uint8))


def to_pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy())


def from_pillow(image: Image.Image) -> torch.Tensor:
    array = torch.from_numpy(np.array(image))
    return array.unsqueeze(0) if array.ndim == 2 else array.permute(2, 0, 1)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _solarize_add(image: Image.Image, value: float) -> Image.Image:
    raised = np.clip(np.array(image).astype(int) + value, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(raised), 128)


def _cutout(image: Image.Image, value: float, place: np.ndarray) -> Image.Image:
    """The published code, with the uniform draw taken from `place`."""
    width, height = image.size
    x, y = (size + (1 - size) * part for size, part in zip((width, height), place, strict=True))
    left, top = int(max(0, x - value / 2.0)), int(max(0, y - value / 2.0))
    corners = (left, top, min(width, left + value), min(height, top + value))
    image = image.copy()
    ImageDraw.Draw(image).rectangle(corners, (125, 123, 114) if image.mode == "RGB" else 123)
    return image


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Identity": lambda image, v: image,
    "ShearX": lambda image, v: _affine(image, 1, v, 0, 0, 1, 0),
    "ShearY": lambda image, v: _affine(image, 1, 0, 0, v, 1, 0),
    "TranslateX": lambda image, v: _affine(image, 1, 0, v * image.size[0], 0, 1, 0),
    "TranslateY": lambda image, v: _affine(image, 1, 0, 0, 0, 1, v * image.size[1]),
    "TranslateXabs": lambda image, v: _affine(image, 1, 0, v, 0, 1, 0),
    "TranslateYabs": lambda image, v: _affine(image, 1, 0, 0, 0, 1, v),
    "Rotate": lambda image, v: image.rotate(v),
    "AutoContrast": lambda image, v: ImageOps.autocontrast(image),
    "Invert": lambda image, v: ImageOps.invert(image),
    "Equalize": lambda image, v: ImageOps.equalize(image),
    "Solarize": lambda image, v: ImageOps.solarize(image, v),
    "SolarizeAdd": _solarize_add,
    "Posterize": lambda image, v: ImageOps.posterize(image, max(1, int(v))),
    "Color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "Contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "Brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
}


def one_by_one(images: torch.Tensor, table: Table, m: float, draws: Draws) -> torch.Tensor:
    """Pillow's outcome for every image."""
    outcomes = []
    for number, image in enumerate(images):
        picture = to_pillow(image)
        for step in range(len(draws.operation)):
            operation = table.operations[int(draws.operation[step, number])]
            value = m / table.full * (operation.high - operation.low) + operation.low
            if operation.signed and draws.negative[step, number]:
                value = -value
            place = draws.position[step, number].numpy()
            if operation.name == "CutoutAbs":
                picture = _cutout(picture, value, place)
            elif operation.name == "Cutout":
                picture = _cutout(picture, math.sqrt(value) * picture.size[0], place)
            else:
                picture = PILLOW[operation.name](picture, value)
        outcomes.append(from_pillow(picture))
    return torch.stack(outcomes)


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (64, 64), (20, 33), (47, 24)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TABLES)
def test_every_operation_equals_pillow(name: str, channels: int, shape: tuple[int, int]) -> None:
    table, size = TABLES[name], max(shape)
    images = pictures(5, channels, size, seed=size + channels)[:, :, : shape[0], : shape[1]].contiguous()
    count = len(table.operations)
    generator = torch.Generator().manual_seed(size)
    # Every operation on every image, with both signs.
    batch = images.repeat(2 * count, 1, 1, 1)
    operation = torch.arange(count).repeat_interleave(2 * len(images)).unsqueeze(0)
    negative = (torch.arange(2 * count) % 2).repeat_interleave(len(images)).bool().unsqueeze(0)
    for m in (0, table.full / 3, 0.77 * table.full, table.full):
        position = torch.rand(1, len(batch), 2, dtype=torch.float64, generator=generator)
        draws = Draws(operation, negative, position)
        outcome = apply(batch, table, m, draws)
        expected = one_by_one(batch, table, m, draws)
        wrong = (outcome != expected).flatten(1).any(1)
        assert not wrong.any(), {table.names[index] for index in operation[0, wrong].tolist()}


@pytest.mark.parametrize("channels", [1, 3])
def test_chains_equal_pillow(channels: int) -> None:
    images = pictures(60, channels, 32, seed=3)
    for table in TABLES.values():
        draws = draw(table, 3, len(images), torch.Generator().manual_seed(5))
        assert torch.equal(apply(images, table, 9.5, draws), one_by_one(images, table, 9.5, draws))


def test_images_that_are_not_square() -> None:
    images = pictures(40, 3, 32)[:, :, :20]
    for table in TABLES.values():
        draws = draw(table, 2, len(images), torch.Generator().manual_seed(6))
        assert torch.equal(apply(images, table, 8, draws), one_by_one(images, table, 8, draws))


@pytest.mark.parametrize("degrees", [-180, -90, 0, 45, 90, 123.4, 180, 270, 359])
def test_rotation_by_any_angle(degrees: float) -> None:
    images = pictures(3, 3, 33)
    expected = torch.stack([from_pillow(to_pillow(image).rotate(degrees)) for image in images])
    assert torch.equal(ops.rotate(images, degrees), expected)


def test_every_range_of_contrast_equals_pillow() -> None:
    low, high = torch.triu_indices(256, 256, offset=1)
    middle = torch.div(low + 2 * high, 3, rounding_mode="floor")
    images = torch.stack((low, middle, high, high), dim=1).to(torch.uint8).view(-1, 1, 2, 2)
    # All pairs of smallest and largest value at once, thinned for Pillow's part.
    outcome = ops.auto_contrast(images)[::7]
    expected = torch.stack([from_pillow(ImageOps.autocontrast(to_pillow(image))) for image in images[::7]])
    assert torch.equal(outcome, expected)


def test_grey_levels_of_a_blend_and_limits() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for factor in (0.0, 0.1, 0.5, 1.0, 1.9):
        expected = from_pillow(ImageEnhance.Brightness(to_pillow(levels[0])).enhance(factor))
        assert torch.equal(ops.brightness(levels, factor)[0], expected)
    assert torch.equal(ops.solarize(levels, 256), levels)
    assert torch.equal(ops.solarize(levels, 0), ops.invert(levels))
    assert torch.equal(ops.posterize(levels, 8), levels)


def test_grey_images_have_no_colour() -> None:
    images = pictures(4, 1, 28)
    assert torch.equal(ops.color(images, 1.78), images)
    assert torch.equal(ops.color(images, 0.1), images)


def test_draws_are_the_generators() -> None:
    images = pictures(64, 3, 32)

    def outcome(seed: int) -> torch.Tensor:
        return randaugment(images, RESMOOTH_TABLE, 2, 28, torch.Generator().manual_seed(seed))

    before = images.clone()
    assert torch.equal(outcome(1), outcome(1))
    assert not torch.equal(outcome(1), outcome(2))
    assert torch.equal(images, before)
    # What an image becomes does not depend on the others of its batch.
    draws = draw(RESMOOTH_TABLE, 3, 64, torch.Generator().manual_seed(1))
    part = Draws(draws.operation[:, 7:19], draws.negative[:, 7:19], draws.position[:, 7:19])
    whole = apply(images, RESMOOTH_TABLE, 28, draws)
    assert torch.equal(whole[7:19], apply(images[7:19], RESMOOTH_TABLE, 28, part))


@pytest.mark.parametrize("name", TABLES)
def test_draws_are_uniform(name: str) -> None:
    table = TABLES[name]
    draws = draw(table, 4, 20_000, torch.Generator().manual_seed(0))
    share = torch.bincount(draws.operation.view(-1), minlength=len(table.operations)) / draws.operation.numel()
    torch.testing.assert_close(share, torch.full_like(share, 1 / len(table.operations)), rtol=0, atol=5e-3)
    assert abs(float(draws.negative.float().mean()) - 0.5) < 0.01
    # With replacement: independent draws of an image agree as often as chance says.
    same = float((draws.operation[0] == draws.operation[1]).float().mean())
    assert abs(same - 1 / len(table.operations)) < 0.01


def test_translation_limit() -> None:
    images = pictures(1, 3, 32, seed=1)
    index = HOOD_TABLE.names.index("TranslateXabs")
    draws = Draws(torch.tensor([[index]]), torch.tensor([[False]]), torch.zeros(1, 1, 2, dtype=torch.float64))
    # 33.3 pixels push a 32-pixel image out of sight.
    assert int(apply(images, HOOD_TABLE, 10, draws).sum()) == 0
    limited = apply(images, HOOD_TABLE, 10, draws, translate_limit=0.25)
    assert torch.equal(limited[..., :24], images[..., 8:])
    assert int(limited[..., 24:].sum()) == 0
    draws = Draws(draws.operation, torch.tensor([[True]]), draws.position)
    limited = apply(images, HOOD_TABLE, 10, draws, translate_limit=0.25)
    assert torch.equal(limited[..., 8:], images[..., :24])
    # A longer limit changes nothing.
    assert torch.equal(apply(images, HOOD_TABLE, 3, draws, translate_limit=1.0), apply(images, HOOD_TABLE, 3, draws))


def test_nothing_to_do() -> None:
    images = pictures(3, 3, 32)
    outcome = randaugment(images, RESMOOTH_TABLE, 0, 28, torch.Generator())
    assert torch.equal(outcome, images)
    assert outcome.data_ptr() != images.data_ptr()
    assert randaugment(images[:0], RESMOOTH_TABLE, 2, 28, torch.Generator()).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 3, 8, 8)}, "uint8"),
        ({"images": torch.zeros(2, 4, 8, 8, dtype=torch.uint8)}, "shape"),
        ({"n": -1}, "0 or more"),
        ({"m": 31}, "between 0 and 30"),
        ({"m": -1}, "between 0 and 30"),
        ({"translate_limit": 1.5}, "fraction"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    arguments = {"images": pictures(2, 3, 8), "table": RESMOOTH_TABLE, "n": 2, "m": 28, "generator": torch.Generator()}
    with pytest.raises(ReproodError, match=message):
        randaugment(**{**arguments, **change})  # type: ignore[arg-type]


def golden_image(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.uint8)).permute(2, 0, 1).unsqueeze(0)


def single(table: Table, m: float, indices: list[int], negative: list[bool], image: np.ndarray) -> np.ndarray:
    draws = Draws(
        torch.tensor(indices).view(-1, 1), torch.tensor(negative).view(-1, 1), torch.zeros(len(indices), 1, 2)
    )
    return apply(golden_image(image), table, m, draws)[0].permute(1, 2, 0).numpy()


@pytest.mark.golden
def test_golden_operations() -> None:
    arrays = golden_files.load("resmooth", "randaugment_ops")
    assert len(RESMOOTH_TABLE.operations) == int(arrays["n_ops"])
    for number, m in enumerate(arrays["M"].tolist()):
        for index, name in enumerate(RESMOOTH_TABLE.names):
            assert RESMOOTH_TABLE.strength(name, m) == arrays["vals"][number, index]
            for sign in range(2):
                outcome = single(RESMOOTH_TABLE, m, [index], [bool(sign)], arrays["image"])
                np.testing.assert_array_equal(outcome, arrays["out"][number, index, sign], err_msg=f"{name} {m} {sign}")


@pytest.mark.golden
def test_golden_chains() -> None:
    arrays = golden_files.load("resmooth", "randaugment_chain")
    for case in range(int(arrays["n_cases"])):
        chain, flags = arrays[f"c{case}_ops"].tolist(), arrays[f"c{case}_neg"].astype(bool).tolist()
        assert len(chain) == int(arrays[f"c{case}_N"].item())
        outcome = single(RESMOOTH_TABLE, float(arrays[f"c{case}_M"].item()), chain, flags, arrays["image"])
        np.testing.assert_array_equal(outcome, arrays[f"c{case}_out"])


@pytest.mark.golden
def test_golden_operations_of_hood() -> None:
    arrays = golden_files.load("hood", "randaugment_ops")
    seen = set()
    for key, expected in arrays.items():
        if key == "image" or key.startswith("val_") or key.endswith("_draws"):
            continue
        name, magnitude, *rest = key.split("_")
        value, m = float(arrays[f"val_{name}_{magnitude}"]), float(magnitude.removeprefix("m"))
        assert HOOD_TABLE.strength(name, m) == pytest.approx(value, abs=1e-12)
        if name == "CutoutAbs":
            centres = torch.from_numpy(arrays[f"{key}_draws"]).unsqueeze(0)
            outcome = ops.cutout(golden_image(arrays["image"]), value, centres)[0].permute(1, 2, 0).numpy()
        else:
            outcome = single(HOOD_TABLE, m, [HOOD_TABLE.names.index(name)], [rest == ["neg"]], arrays["image"])
        np.testing.assert_array_equal(outcome, expected, err_msg=key)
        seen.add(name)
    assert seen == set(HOOD_TABLE.names)
