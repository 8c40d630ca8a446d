"""Corruptions of whole batches: shapes, draws, severities, grey images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from glass import in_place
from scipy import ndimage
from torch import Tensor

from reprood.config.perturbations import PUBLISHED_CORRUPTIONS
from reprood.core.errors import ReproodError
from reprood.images import corruption, filters, registry
from reprood.images.corruption import Corruption, Draws, corrupt, corrupt_mixed
from reprood.images.corruptions import spatter, zoom_blur
from reprood.images.corruptions.brightness import brightness
from reprood.images.corruptions.defocus_blur import defocus_blur, disk
from reprood.images.corruptions.glass_blur import glass_blur
from reprood.images.corruptions.motion_blur import motion_blur
from reprood.images.corruptions.saturate import saturate
from reprood.images.corruptions.snow import snow
from reprood.images.registry import CORRUPTION_NAMES, load_corruption

ALL = {name: load_corruption(name) for name in CORRUPTION_NAMES}
FIXED = ("gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def batch(count: int = 4, size: int = 28, channels: int = 1) -> Tensor:
    """Smooth pictures, so that a blur is a small change."""
    random = np.random.default_rng(size + channels)
    rough = random.normal(size=(count, channels, size, size))
    smooth = ndimage.gaussian_filter(rough, (0, 0, 2, 2))
    return torch.from_numpy(np.clip(127 + 400 * smooth, 0, 255).astype(np.uint8))


def test_every_module_of_the_folder_is_the_corruption_of_its_name() -> None:
    assert {record.name for record in ALL.values()} == set(CORRUPTION_NAMES)
    assert all(record.name == name for name, record in ALL.items())
    assert len(PUBLISHED_CORRUPTIONS) == 15
    assert set(PUBLISHED_CORRUPTIONS) < set(CORRUPTION_NAMES)
    assert registry.SEVERITIES == corruption.SEVERITIES


def test_a_record_has_a_strength_for_each_severity() -> None:
    with pytest.raises(ValueError, match="rain: expected 5 strengths, not 4"):
        Corruption("rain", lambda x, strength, draws: x, (1, 2, 3, 4, 5), (1, 2, 3, 4))


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_every_corruption_at_every_severity(name: str, channels: int, size: int) -> None:
    images = batch(2, size, channels)
    for strengths in corruption.STRENGTHS:
        for severity in range(1, 6):
            found = corrupt(images, ALL[name], severity, seed(severity), strengths=strengths)
            assert found.dtype == torch.uint8
            assert found.shape == images.shape
            if not (name == "saturate" and channels == 1):
                assert not torch.equal(found, images), (strengths, severity)


@pytest.mark.parametrize("strengths", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", FIXED)
def test_higher_severities_change_more(name: str, strengths: str) -> None:
    images = batch(6, 32, 3)
    far = [
        float((corrupt(images, ALL[name], s, seed(), strengths=strengths).float() - images.float()).abs().mean())
        for s in range(1, 6)
    ]
    assert far == sorted(far)
    assert far[0] < far[4]


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_a_seed_gives_the_same_images_and_another_seed_others(name: str) -> None:
    images = batch(3, 28, 3)
    first = corrupt(images, ALL[name], 3, seed(1))
    assert torch.equal(first, corrupt(images, ALL[name], 3, seed(1)))
    same = torch.equal(first, corrupt(images, ALL[name], 3, seed(2)))
    assert same == (name in (*FIXED, "saturate"))


@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_other_memory_layouts(name: str) -> None:
    images = batch(3, 28, 3)
    wanted = corrupt(images, ALL[name], 2, seed())
    assert torch.equal(corrupt(images.contiguous(memory_format=torch.channels_last), ALL[name], 2, seed()), wanted)
    assert torch.equal(corrupt(images.mT.contiguous().mT, ALL[name], 2, seed()), wanted)


@pytest.mark.parametrize("name", FIXED)
def test_an_image_does_not_depend_on_the_others(name: str) -> None:
    images = batch(4, 28, 3)
    whole = corrupt(images, ALL[name], 4, seed())
    for row in range(4):
        alone = corrupt(images[row : row + 1], ALL[name], 4, seed())
        assert (whole[row].int() - alone[0].int()).abs().max() <= 1  # sums in another order


def test_saturation_of_grey_images_changes_nothing() -> None:
    images = batch()
    assert torch.equal(corrupt(images, ALL["saturate"], 5, seed()), images)


def test_brightness_of_a_grey_image_is_a_sum() -> None:
    image = torch.rand(1, 1, 5, 5, generator=seed())
    assert torch.allclose(brightness(image, 0.3), (image + 0.3).clamp(max=1) * 255)


def test_colours_equal_the_library_s() -> None:
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    image = torch.rand(1, 3, 9, 9, generator=seed(), dtype=torch.float64)
    image[0, :, 0, 0] = 0.4  # grey
    hsv = rgb_to_hsv(image[0].permute(1, 2, 0).numpy())
    for factor, shift in ((0.3, 0.0), (2.0, 0.1), (20.0, 0.2)):
        changed = hsv.copy()
        changed[..., 1] = np.clip(changed[..., 1] * factor + shift, 0, 1)
        wanted = 255 * hsv_to_rgb(changed)
        found = saturate(image, factor, shift)[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize(("mode", "scipy_mode"), [("edge", "nearest"), ("mirror", "mirror"), ("reflect", "reflect")])
def test_blur_equals_scipy(mode: str, scipy_mode: str) -> None:
    image = torch.rand(1, 2, 13, 17, generator=seed(), dtype=torch.float64)
    for sigma in (0.3, 1.0, 4.0):
        wanted = ndimage.gaussian_filter(image.numpy(), (0, 0, sigma, sigma), mode=scipy_mode, truncate=4)
        found = filters.blur(image, sigma, mode=mode)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)


@pytest.mark.parametrize("size", [8, 31, 32, 36, 71, 78, 136, 139, 150, 160])
def test_zoom_equals_scipy(size: int) -> None:
    """Also at the sizes at which rounding puts SciPy's last position outside the line, where it writes 0."""
    strengths = [strength for kind in corruption.STRENGTHS for strength in ALL["zoom_blur"].strengths(kind)]
    factors = {float(factor) for largest, step, _ in strengths for factor in np.arange(1, largest, step)}
    line = np.random.default_rng(0).random(size)
    for factor in (*sorted(factors), 2.5):
        crop = int(np.ceil(size / factor))
        start = (size - crop) // 2
        expected = ndimage.zoom(line[start : start + crop], factor, order=1)
        zoomed = filters.zoom_matrix(size, factor, "start").numpy() @ line
        length = min(size, len(expected))
        assert filters.zoomed_length(size, factor) == len(expected)
        np.testing.assert_allclose(zoomed[:length], expected[:length], atol=1e-9)


@pytest.mark.parametrize("size", [(28, 41), (41, 28), (224, 160), (36, 71), (32, 32)])
def test_zoom_blur_equals_the_published_function(size: tuple[int, int]) -> None:
    """Hendrycks' loop over `scipy.ndimage.zoom`, for images of any shape (ImageNet-C)."""
    picture = np.random.default_rng(1).random((*size, 3)).astype(np.float32)
    for severity, (largest, step, keep) in enumerate(ALL["zoom_blur"].imagenet):
        factors = np.arange(1, largest, step)
        total = np.zeros_like(picture)
        for factor in factors:
            crops = [int(np.ceil(length / float(factor))) for length in size]
            top, left = ((length - crop) // 2 for length, crop in zip(size, crops, strict=True))
            middle = picture[top : top + crops[0], left : left + crops[1]]
            layer = ndimage.zoom(middle, (factor, factor, 1), order=1)[: size[0], : size[1]]
            total[: layer.shape[0], : layer.shape[1]] += layer
        expected = 255 * np.clip((picture + total) / (len(factors) + 1), 0, 1)
        images = torch.from_numpy(picture).permute(2, 0, 1)[None]
        blurred = zoom_blur.zoom_blur(images, largest, step, keep)[0].permute(1, 2, 0)
        np.testing.assert_allclose(blurred.numpy(), expected, atol=0.01, err_msg=f"severity {severity + 1}")


SHAPES = [(24, 37), (37, 24), (17, 64), (33, 9)]


@pytest.mark.parametrize("shape", [(24, 37), (37, 24), (28, 28)])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_elastic_transform_equals_the_published_function(severity: int, shape: tuple[int, int]) -> None:
    """ImageNet-C's: `scipy.ndimage` on images of any shape, with displacements in proportion to the height."""
    height, width = shape
    image = torch.rand(1, 2, height, width, generator=seed(7), dtype=torch.float64)
    uniform = 2 * torch.rand(1, 2, height, width, generator=seed(severity)) - 1  # the draws of the record
    strength = ALL["elastic_transform"].imagenet[severity - 1]
    result = ALL["elastic_transform"].function(image, strength, Draws(image, seed(severity)))[0].numpy()
    sides = np.array(shape)
    dx, dy = (
        ndimage.gaussian_filter(0.005 * height * field.double().numpy(), 0.01 * sides, mode="reflect", truncate=3)
        * strength
        for field in uniform[0]
    )
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for channel, picture in zip(result, image[0].numpy(), strict=True):
        expected = ndimage.map_coordinates(picture, [rows + dy, columns + dx], order=1, mode="reflect")
        np.testing.assert_allclose(channel, 255 * np.clip(expected, 0, 1), atol=0.05)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CORRUPTION_NAMES)
def test_images_need_not_be_square(name: str, shape: tuple[int, int]) -> None:
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (3, 3, *shape)).astype(np.uint8))
    for strengths in corruption.STRENGTHS:
        for severity in (1, 5):
            changed = corrupt(images, ALL[name], severity, seed(severity), strengths=strengths)
            assert changed.shape == images.shape
            assert changed.dtype == torch.uint8
            assert not torch.equal(changed, images)
    mixed = corrupt_mixed(images, (ALL[name],), seed(1), "imagenet")
    assert mixed.shape == images.shape


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strengths", ["cifar", "imagenet"])
@pytest.mark.parametrize(
    "name", ["gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "saturate"]
)
def test_rows_and_columns_are_treated_alike(name: str, strengths: str, shape: tuple[int, int]) -> None:
    """Without randomness, the corruption of a transposed image is the transposed corruption."""
    images = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (2, 3, *shape)).astype(np.uint8))
    for severity in range(1, 6):
        first, second = (
            corrupt(x, ALL[name], severity, seed(), strengths=strengths).int()
            for x in (images, images.transpose(2, 3).contiguous())
        )
        assert int((first.transpose(2, 3) - second).abs().max()) <= 1, severity


def test_glass_equals_a_slow_loop() -> None:
    """Images of a batch have draws of their own; copies follow one another."""
    images = torch.rand(3, 2, 9, 8, generator=seed(), dtype=torch.float64)
    reach, passes, sigma = 2, 2, 0.7
    steps = (9 - 2 * reach) * (8 - 2 * reach)
    offsets = torch.randint(-reach, reach, (3, passes, steps, 2), generator=seed(1))
    found = glass_blur(images, in_place(offsets, 9, 8, reach), sigma)
    for row in range(3):
        soft = np.floor(ndimage.gaussian_filter(images[row].numpy(), (0, sigma, sigma), mode="nearest") * 255) / 255
        for part in range(passes):
            drawn = iter(offsets[row, part].tolist())
            for h in range(9 - reach, reach, -1):
                for w in range(8 - reach, reach, -1):
                    dx, dy = next(drawn)
                    soft[:, h, w] = soft[:, h + dy, w + dx]
        wanted = 255 * np.clip(ndimage.gaussian_filter(soft, (0, sigma, sigma), mode="nearest"), 0, 1)
        np.testing.assert_allclose(found[row].numpy(), wanted, atol=1e-9)


def slow_motion(image: np.ndarray, angle: float, radius: int, sigma: float) -> np.ndarray:
    """[H, W], tap by tap."""
    height, width = image.shape
    taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    total = np.zeros_like(image)
    for i, tap in enumerate(taps / taps.sum()):
        dy = -int(np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5))
        dx = -int(np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5))
        if abs(dy) >= height or abs(dx) >= width:
            break
        rows, columns = np.clip(np.arange(height) - dy, 0, height - 1), np.clip(np.arange(width) - dx, 0, width - 1)
        total += tap * image[np.ix_(rows, columns)]
    return total


def test_motion_equals_a_slow_loop() -> None:
    """Angles, radii and sigmas differ from image to image; some shifts leave the image."""
    images = torch.rand(5, 2, 14, 11, generator=seed(), dtype=torch.float64)
    angles = torch.tensor([-40.0, 0.0, 17.5, 90.0, -135.0])
    radius, sigma = torch.tensor([6.0, 3.0, 10.0, 20.0, 4.0]), torch.tensor([1.0, 2.5, 5.0, 15.0, 12.0])
    found = motion_blur(images, angles, radius, sigma)
    for row in range(5):
        for channel in range(2):
            image = images[row, channel].numpy()
            wanted = 255 * slow_motion(image, float(angles[row]), int(radius[row]), float(sigma[row]))
            np.testing.assert_allclose(found[row, channel].numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (28, 37)])
@pytest.mark.parametrize("channels", [1, 3])
def test_snow_equals_a_slow_loop(size: tuple[int, int], channels: int) -> None:
    """All severities in one batch: the enlarged layers, in which the flakes move, differ in size."""
    height, width = size
    images = torch.rand(5, channels, height, width, generator=seed(), dtype=torch.float64)
    normal = torch.randn(5, height, width, generator=seed(1), dtype=torch.float64)
    angles = torch.tensor([-50.0, -80.0, -45.0, -60.0, -130.0])
    table = ALL["snow"].imagenet
    strength = torch.tensor(table, dtype=torch.float64).unbind(1)
    found = snow(images, normal, angles, strength)
    for row, (mean, spread, zoom, threshold, radius, sigma, share) in enumerate(table):
        crops = [int(np.ceil(side / zoom)) for side in size]
        top, left = ((side - crop) // 2 for side, crop in zip(size, crops, strict=True))
        layer = (mean + spread * normal[row].numpy())[top : top + crops[0], left : left + crops[1]]
        layer = ndimage.zoom(layer, zoom, order=1)
        layer = np.clip(np.where(layer < threshold, 0, layer), 0, 1)
        layer = slow_motion(layer, float(angles[row]), radius, sigma)
        layer = np.round(layer * 255)[:height, :width] / 255
        image = images[row].numpy()
        grey = image[0] if channels == 1 else 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        white = share * image + (1 - share) * np.maximum(image, grey * 1.5 + 0.5)
        wanted = 255 * np.clip(white + layer + np.rot90(layer, 2), 0, 1)
        difference = np.abs(found[row].numpy() - wanted)
        assert (difference > 1e-4).mean() < 0.002, difference.max()  # where the rounding to bytes falls otherwise


@pytest.mark.parametrize("strengths", ["cifar", "imagenet"])
def test_zoom_and_defocus_equal_slow_loops(strengths: str) -> None:
    """The shortened sums of products are the operations themselves."""
    image = torch.rand(2, 1, 33, 28, generator=seed(), dtype=torch.float64)
    for largest, step, keep in ALL["zoom_blur"].strengths(strengths):
        factors = np.arange(1, largest, step).tolist()
        zoomed = [
            filters.zoom_matrix(33, factor, keep) @ image @ filters.zoom_matrix(28, factor, keep).mT
            for factor in factors
        ]
        wanted = 255 * (image + sum(zoomed)) / (len(factors) + 1)
        assert torch.allclose(zoom_blur.zoom_blur(image, largest, step, keep), wanted, atol=1e-5)
        assert len(zoom_blur._products(33, 28, largest, step, keep)[0]) <= len(factors) + 1
    for radius, alias in ALL["defocus_blur"].strengths(strengths):
        kernel = disk(radius, alias).numpy()
        wanted = np.stack([ndimage.correlate(picture[0].numpy(), kernel, mode="mirror")[None] for picture in image])
        np.testing.assert_allclose(defocus_blur(image, radius, alias).numpy(), 255 * wanted, atol=1e-4)


@pytest.mark.parametrize("strengths", corruption.STRENGTHS)
def test_spatter_equals_the_published_function(strengths: str) -> None:
    """Against imagecorruptions 1.1.2 and CnC's strengths for CIFAR, with OpenCV 5.0.0, on the same noise."""
    stored = np.load(Path(__file__).parent / "reference" / "spatter.npz")
    image = torch.from_numpy(stored["image"]).permute(2, 0, 1)[None].double() / 255
    noise = torch.from_numpy(stored["normal"])[None]
    for severity, strength in enumerate(ALL["spatter"].strengths(strengths)):
        result = spatter.spatter(image, noise, strength)[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(result, stored[strengths][severity], atol=0.51)


@pytest.mark.parametrize("shape", [(20, 31), (32, 32)])
def test_distances_to_edges_are_shortest_paths(shape: tuple[int, int]) -> None:
    edges = torch.rand(3, *shape, generator=seed(4)) < 0.02
    edges[2] = False
    result = spatter.distance(edges)
    rows, columns = (torch.arange(length) for length in shape)
    for marks, distances in zip(edges, result, strict=True):
        expected = torch.full(shape, spatter.FARTHEST, dtype=torch.float64)
        for row, column in marks.nonzero().tolist():
            y, x = torch.broadcast_tensors((rows - row).abs()[:, None], (columns - column).abs())
            long, short = torch.maximum(x, y).double(), torch.minimum(x, y).double()
            flat = 2.1969 * short + (long - 2 * short)
            steep = 2.1969 * (long - short) + 1.4 * (2 * short - long)
            expected = torch.minimum(expected, torch.where(2 * short <= long, flat, steep))
        torch.testing.assert_close(distances, expected)


def test_water_is_bright_and_mud_covers() -> None:
    """Without liquid nothing changes; mud where the liquid is above its threshold, water only adds light."""
    images = batch(4, 28, 3).float() / 255
    for kind in corruption.STRENGTHS:
        for severity, strength in enumerate(ALL["spatter"].strengths(kind)):
            dry = torch.full((4, 28, 28), -50.0)
            assert torch.equal(spatter.spatter(images, dry, strength), images * 255)
            wet = spatter.spatter(images, torch.randn(4, 28, 28, generator=seed(severity)), strength)
            if strength[-1] == 0:
                assert bool((wet >= images * 255).all())
            else:
                covered = spatter.spatter(images, torch.full((4, 28, 28), 50.0), strength)
                torch.testing.assert_close(covered[:, :, 14, 14], torch.tensor([[63.0, 42, 20]] * 4))


def test_frost_blends_in_a_photograph_per_image() -> None:
    images, crops = batch(40, 28, 3), batch(5, 28, 3).flip(2)
    keep, amount = ALL["frost"].cifar[4]
    changed = corrupt(images, ALL["frost"], 5, seed(2), frost=crops).float()
    blends = [(keep * images.float() + amount * crop.float()).clamp(0, 255).floor() for crop in crops]
    distances = torch.stack([(changed - blend).abs().amax((1, 2, 3)) for blend in blends])
    assert bool((distances.amin(0) <= 1).all())
    assert len(set(distances.argmin(0).tolist())) == 5
    mixed = corrupt_mixed(images, (ALL["frost"], ALL["contrast"]), seed(2), "cifar", crops)
    assert not torch.equal(mixed, corrupt_mixed(images, (ALL["frost"], ALL["contrast"]), seed(2), "cifar"))
    with pytest.raises(ReproodError, match="whose size is that of the images"):
        corrupt(images, ALL["frost"], 5, seed(), frost=batch(5, 32, 3))


@pytest.mark.parametrize("strengths", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", [name for name, record in ALL.items() if record.per_image])
def test_strengths_for_each_image_equal_one_for_all(name: str, strengths: str) -> None:
    images = batch(4, 28, 3).float() / 255
    for severity in range(5):
        one = ALL[name].strengths(strengths)[severity]
        rows = torch.tensor([one] * 4, dtype=torch.float64)
        own = tuple(rows.unbind(1)) if isinstance(one, tuple) else rows
        together, apart = (ALL[name].function(images, c, Draws(images, seed())) for c in (one, own))
        assert ((together - apart).abs() > 0.01).float().mean() < 0.001


def test_mixed_images_get_what_they_drew() -> None:
    """In their places: every image is what it becomes alone, at one of the severities."""
    images = batch(60, 28, 3)
    for name in (*FIXED, "saturate"):
        found = corrupt_mixed(images, (ALL[name],), seed(3), "cifar").int()
        alone = torch.stack([corrupt(images, ALL[name], s, seed()) for s in range(1, 6)]).int()
        nearest = (found - alone).abs().amax(dim=(2, 3, 4)).amin(dim=0)
        assert nearest.max() <= 1, name


def test_even_areas_keep_their_grey_level() -> None:
    """Sums in float32 may end a little below a whole number; cutting must not take a level off."""
    levels = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    for name in ("gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "contrast", "pixelate", "glass_blur"):
        for severity in (1, 5):
            assert torch.equal(corrupt(levels, ALL[name], severity, seed()), levels), name


def test_an_empty_batch_stays_empty() -> None:
    assert corrupt_mixed(batch()[:0], [*ALL.values()], seed()).shape == (0, 1, 28, 28)


def test_mixed_images_get_corruptions_of_their_own() -> None:
    images = batch(1, 28, 1).expand(200, -1, -1, -1).clone()
    two = ALL["contrast"], ALL["brightness"]
    found = corrupt_mixed(images, two, seed(), "imagenet")
    distinct = {row.numpy().tobytes() for row in found}
    assert len(distinct) == 10  # two corruptions of five severities
    assert torch.equal(found, corrupt_mixed(images, two, seed(), "imagenet"))


@pytest.mark.parametrize(
    ("severity", "strengths", "words"),
    [
        (6, "cifar", "The severity of fog must be 1 to 5, not 6"),
        (1, "mnist", "There are no strengths 'mnist'; known: cifar, imagenet"),
    ],
)
def test_mistakes(severity: int, strengths: str, words: str) -> None:
    with pytest.raises(ReproodError, match=words):
        corrupt(batch(), ALL["fog"], severity, seed(), strengths=strengths)


def test_an_unknown_name() -> None:
    for function in (load_corruption, registry.corruption_module):
        with pytest.raises(ReproodError, match="There is no corruption 'rain'; known: brightness, contrast"):
            function("rain")


def test_mistakes_of_mixtures() -> None:
    with pytest.raises(ReproodError, match="no corruption to draw from; pass at least one"):
        corrupt_mixed(batch(), (), seed())
    with pytest.raises(ReproodError, match="There are no strengths 'mnist'"):
        corrupt_mixed(batch(), (ALL["fog"],), seed(), "mnist")
    with pytest.raises(ReproodError, match="take uint8 images"):
        corrupt(batch().float(), ALL["fog"], 1, seed())
