"""Images per CPU-second of the corruptions: batches of tensors against a loop over images with NumPy, SciPy and Pillow.

The loops are the operations as they are usually written for one image [H, W, C]; both sides make their own draws.

Run: python benchmarks/corruptions.py [--repeats N] [--json FILE]
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from measure import Row, arguments, compare, show
from PIL import Image
from scipy import ndimage
from training_input import pictures

from reprood.images.corruption import corrupt, corrupt_mixed
from reprood.images.corruptions.defocus_blur import disk
from reprood.images.registry import load_corruption
from reprood.methods.cnc.settings import CORRUPTIONS

SEVERITY = 3
STRENGTHS_NAME = "imagenet"
BATCH = 64
random = np.random.default_rng(0)


def gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest", truncate=4)


def impulse(x: np.ndarray, c: float) -> np.ndarray:
    drawn = random.random(x.shape)
    return np.where(drawn < c, drawn < c / 2, x)


def glass(x: np.ndarray, sigma: float, reach: int, passes: int) -> np.ndarray:
    x = np.uint8(gaussian(x, sigma) * 255)
    for _ in range(passes):
        for h in range(x.shape[0] - reach, reach, -1):
            for w in range(x.shape[1] - reach, reach, -1):
                dx, dy = random.integers(-reach, reach, 2)
                x[h, w] = x[h + dy, w + dx]
    return gaussian(x / 255, sigma)


def defocus(x: np.ndarray, radius: float, alias: float) -> np.ndarray:
    return ndimage.correlate(x, disk(radius, alias).numpy()[..., None], mode="mirror")


def clipped_zoom(x: np.ndarray, factor: float) -> np.ndarray:
    crops = [int(np.ceil(side / factor)) for side in x.shape[:2]]
    top, left = ((side - crop) // 2 for side, crop in zip(x.shape, crops))
    return ndimage.zoom(x[top : top + crops[0], left : left + crops[1]], (factor, factor, 1), order=1)


def zoom(x: np.ndarray, largest: float, step: float, keep: str) -> np.ndarray:
    factors = np.arange(1, largest, step)
    return (x + sum(clipped_zoom(x, f)[: x.shape[0], : x.shape[1]] for f in factors)) / (len(factors) + 1)


def moved(x: np.ndarray, angle: float, radius: int, sigma: float) -> np.ndarray:
    taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    total, (height, width) = np.zeros_like(x), x.shape[:2]
    for i, tap in enumerate(taps / taps.sum()):
        dy, dx = (-int(np.ceil(i * f(np.deg2rad(angle)) - 0.5)) for f in (np.sin, np.cos))
        if abs(dy) >= height or abs(dx) >= width:
            break
        rows, columns = np.arange(height) - dy, np.arange(width) - dx
        total += tap * x[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]
    return total


def snow(x: np.ndarray, *c: float) -> np.ndarray:
    mean, spread, factor, threshold, radius, sigma, share = c
    layer = clipped_zoom(random.normal(mean, spread, (*x.shape[:2], 1)), factor)
    layer = moved(np.where(layer < threshold, 0, layer).clip(0, 1), random.uniform(-135, -45), int(radius), sigma)
    layer = np.round(layer * 255)[: x.shape[0], : x.shape[1]] / 255
    grey = x @ np.array([0.299, 0.587, 0.114])
    return share * x + (1 - share) * np.maximum(x, grey[..., None] * 1.5 + 0.5) + layer + np.rot90(layer, 2)


def plasma(side: int, decay: float) -> np.ndarray:
    m = np.zeros((side, side))
    step, wobble = side, 100.0

    def noisy(total: np.ndarray) -> np.ndarray:
        return total / 4 + wobble * random.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        c = m[::step, ::step]
        around = c + np.roll(c, -1, 0)
        m[half::step, half::step] = noisy(around + np.roll(around, -1, 1))
        d, c = m[half::step, half::step], m[::step, ::step]
        m[::step, half::step] = noisy(d + np.roll(d, 1, 0) + c + np.roll(c, -1, 1))
        m[half::step, ::step] = noisy(d + np.roll(d, 1, 1) + c + np.roll(c, -1, 0))
        step, wobble = half, wobble / decay
    m -= m.min()
    return m / m.max()


def fog(x: np.ndarray, amount: float, decay: float) -> np.ndarray:
    mist = plasma(1 << (max(x.shape) - 1).bit_length(), decay)[: x.shape[0], : x.shape[1], None]
    return (x + amount * mist) * x.max() / (x.max() + amount)


def elastic(x: np.ndarray, amount: float) -> np.ndarray:
    height, width, channels = x.shape
    bound, sigma = 0.005 * height, (0.01 * height, 0.01 * width)
    dx, dy = (
        amount * ndimage.gaussian_filter(random.uniform(-bound, bound, (height, width)), sigma, truncate=3)[..., None]
        for _ in range(2)
    )
    rows, columns, planes = np.meshgrid(*map(np.arange, (height, width, channels)), indexing="ij")
    places = [(rows + dy).ravel(), (columns + dx).ravel(), planes.ravel()]
    return ndimage.map_coordinates(x, places, order=1, mode="reflect").reshape(x.shape)


def colours(x: np.ndarray, part: int, factor: float, shift: float) -> np.ndarray:
    hsv = rgb_to_hsv(x)
    hsv[..., part] = (factor * hsv[..., part] + shift).clip(0, 1)
    return hsv_to_rgb(hsv)


def pixelate(x: np.ndarray, share: float) -> np.ndarray:
    picture = Image.fromarray(np.uint8(x * 255))
    small = picture.resize((int(x.shape[1] * share), int(x.shape[0] * share)), Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.NEAREST)) / 255


def jpeg(x: np.ndarray, quality: float) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(x * 255)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)) / 255


def contrast(x: np.ndarray, c: float) -> np.ndarray:
    mean = x.mean((0, 1))
    return (x - mean) * c + mean


LOOPS: dict[str, Callable[..., np.ndarray]] = {
    "gaussian_noise": lambda x, c: x + random.normal(0, c, x.shape),
    "shot_noise": lambda x, c: random.poisson(x * c) / c,
    "impulse_noise": impulse,
    "speckle_noise": lambda x, c: x + x * random.normal(0, c, x.shape),
    "gaussian_blur": gaussian,
    "defocus_blur": defocus,
    "glass_blur": glass,
    "motion_blur": lambda x, *c: moved(x, random.uniform(-45, 45), *c),
    "zoom_blur": zoom,
    "snow": snow,
    "fog": fog,
    "brightness": lambda x, c: colours(x, 2, 1, c),
    "contrast": contrast,
    "saturate": lambda x, *c: colours(x, 1, *c),
    "elastic_transform": elastic,
    "pixelate": pixelate,
    "jpeg_compression": jpeg,
}


def one(name: str, images: np.ndarray, repeats: int) -> list[Row]:
    """Corrupt a batch with one corruption at one severity."""
    corruption = load_corruption(name)
    strength = corruption.strengths(STRENGTHS_NAME)[SEVERITY - 1]
    parts = strength if isinstance(strength, tuple) else (strength,)
    stored = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    generator = torch.Generator().manual_seed(0)

    def loop() -> int:
        return len([np.uint8(np.clip(LOOPS[name](image / 255, *parts), 0, 1) * 255) for image in images])

    def batched() -> int:
        return len(corrupt(stored, corruption, SEVERITY, generator, strengths=STRENGTHS_NAME))

    return compare(name, {"loop over images": loop, "reprood, batched": batched}, repeats)


def mixed(size: int, channels: int, repeats: int) -> list[Row]:
    """Corrupt every image with its own corruption and severity, at two batch sizes, as in a step of CnC."""
    stored = torch.from_numpy(pictures(1024, size, channels)).permute(0, 3, 1, 2).contiguous()
    generator = torch.Generator().manual_seed(0)

    def way(batch: int) -> Callable[[], int]:
        return lambda: sum(
            len(corrupt_mixed(stored[i : i + batch], [*CORRUPTIONS.values()], generator, STRENGTHS_NAME))
            for i in range(0, len(stored), batch)
        )

    ways = {f"reprood, batches of {batch}": way(batch) for batch in (64, 256)}
    return compare(f"the 15 of CnC mixed, {size} x {size} x {channels}", ways, repeats)


def main() -> None:
    options = arguments(__doc__ or "", repeats=5)
    images = pictures(BATCH, 32, 3)
    rows = [row for name in LOOPS for row in one(name, images, options.repeats)]
    rows += mixed(28, 1, options.repeats) + mixed(32, 3, options.repeats)
    show(rows, options.json)


if __name__ == "__main__":
    main()
