"""Crops of photographs of frost: OpenCV's enlargement, every fifth pixel, uniform positions."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.data.frost import cubic_matrix, frost_crops, rescaled


def photographs(folder: Path, sizes: list[tuple[int, int]], form: str = "png") -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(sizes):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, form)
        paths.append(folder / f"frost{number}.{form}")
        paths[-1].write_bytes(stream.getvalue())
    return paths


@pytest.mark.parametrize("length", [5, 37, 60])
def test_the_cubic_kernel_is_opencvs(length: int) -> None:
    """torch's bicubic interpolation has the same parameter, -0.75, and the same rule at the border."""
    longer = int(np.ceil(1.1 * length))
    line = np.random.default_rng(1).random(length)
    expected = functional.interpolate(
        torch.from_numpy(line).view(1, 1, length, 1), size=(longer, 1), mode="bicubic", align_corners=False
    )
    np.testing.assert_allclose(cubic_matrix(length, longer) @ line, expected.flatten().numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", [(600, 900), (315, 560), (350, 527)])
def test_sizes_of_rescaled_photographs(shape: tuple[int, int]) -> None:
    photograph = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert rescaled(photograph, "imagenet").shape == (*(int(np.ceil(side * 1.1)) for side in shape), 3)
    small = rescaled(photograph, "cifar")
    assert small.shape == (*(round(side * 0.2) for side in shape), 3)
    assert np.array_equal(small[3, 7], photograph[17, 37])


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_parts_of_the_photographs(tmp_path: Path, channels: int) -> None:
    paths = photographs(tmp_path, [(60, 85), (90, 70)])
    read = frost_crops(paths, channels, 9, "cifar", count=40, seed=3)
    assert read.images.shape == (40, 9, 9, channels)
    assert set(read.labels.tolist()) == {-1}
    sources = []
    for path in paths:
        image = np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB"))
        small = rescaled(image.reshape(*image.shape[:2], channels), "cifar")
        views = np.lib.stride_tricks.sliding_window_view(small, (9, 9, channels)).reshape(-1, 9, 9, channels)
        sources.append({view.tobytes() for view in views})
    crops = [crop.tobytes() for crop in read.images]
    assert all(any(crop in source for source in sources) for crop in crops)
    assert all(any(crop in source for crop in crops) for source in sources)
    assert np.array_equal(read.images, frost_crops(paths, channels, 9, "cifar", count=40, seed=3).images)
    assert not np.array_equal(read.images, frost_crops(paths, channels, 9, "cifar", count=40, seed=4).images)


def test_mistakes(tmp_path: Path) -> None:
    paths = photographs(tmp_path, [(60, 85)])
    with pytest.raises(ReproodError, match="12 x 17 pixels; expected more than 12"):
        frost_crops(paths, 3, 12, "cifar")
    with pytest.raises(ReproodError, match="imagenet or cifar, not 'large'"):
        frost_crops(paths, 3, 12, "large")  # type: ignore[arg-type]
    paths[0].write_bytes(b"no image")
    with pytest.raises(ReproodError, match=r"frost0\.png is not a readable image"):
        frost_crops(paths, 3, 9, "cifar")
