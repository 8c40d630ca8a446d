"""Class activation maps: they add up to the logits, their boxes are tight, the largest region counts."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.nets import densenet, pyramidnet, resnet, wrn
from reprood.nets.classifier import Classifier
from reprood.predict.localise import RULES, activation_maps, boxes_of, enlarge, localise

NETS = {
    "wrn": lambda: wrn.build(1, depth=10, width=0.5),
    "resnet": lambda: resnet.build(1, depth=8, stages=3, base=4),
    "pyramidnet": lambda: pyramidnet.build(1, depth=11, widening=6),
    "densenet": lambda: densenet.build(1, depth=10, growth=4),
}


@pytest.mark.parametrize("name", NETS)
def test_a_map_and_the_bias_are_the_logit(name: str) -> None:
    with seeded(0):
        model = Classifier(NETS[name](), 3).eval()
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps, logits = model.backbone.maps(images), model(images)
        assert torch.equal(model.features(images), maps.mean(dim=(2, 3)))
    weight, bias = model.linear_head()
    for label in range(3):
        found = activation_maps(maps, weight, torch.full((4,), label)).mean(dim=(1, 2)) + bias[label]
        torch.testing.assert_close(found, logits[:, label], rtol=1e-4, atol=1e-5)


def flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Return the regions of pixels that touch along a side or at a corner, one pixel after the other."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    regions = []
    while left:
        todo, region = [left.pop()], set()
        while todo:
            y, x = todo.pop()
            region.add((y, x))
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if near in left:
                    left.remove(near)
                    todo.append(near)
        regions.append(region)
    return regions


def test_boxes_equal_a_flood_fill() -> None:
    maps = torch.rand(30, 12, 12, generator=torch.Generator().manual_seed(1))
    for values, box in zip(maps.numpy(), boxes_of(maps, 12, 0.6), strict=True):
        regions = flood(values >= 0.6 * values.max())
        size = max(map(len, regions))
        tight = []
        for region in (r for r in regions if len(r) == size):
            ys, xs = zip(*region, strict=True)
            tight.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
        assert tuple(box) in tight


def test_pixels_that_touch_at_a_corner_are_connected() -> None:
    diagonal = torch.eye(6)[None]
    assert boxes_of(diagonal, 6, 0.5).tolist() == [[0, 0, 6, 6]]


def test_minmax_is_a_share_of_the_range() -> None:
    """Values from -1 to 1: 15 % of the maximum is 0.15, 15 % of the range is -0.7."""
    line = torch.tensor([-1.0, -0.8, -0.6, 0.1, 0.2, 1.0])
    maps = line.expand(1, 6, 6)
    assert boxes_of(maps, 6, 0.15).tolist() == [[4, 0, 6, 6]]
    assert boxes_of(maps, 6, 0.15, "minmax").tolist() == [[2, 0, 6, 6]]
    assert boxes_of(torch.full((1, 6, 6), -3.0), 6, 0.15, "minmax").tolist() == [[0, 0, 6, 6]]


@pytest.mark.parametrize("size", [8, 13, 40])
def test_minmax_maps_are_in_the_unit_interval_and_ignore_scale_and_shift(size: int) -> None:
    maps = torch.randn(5, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    large = enlarge(maps, size, "minmax")
    torch.testing.assert_close(large.amin((1, 2)), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(large.amax((1, 2)), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(enlarge(3 * maps - 7, size, "minmax"), large)
    if size == 8:
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        torch.testing.assert_close(large, (maps - low) / (high - low))


def test_a_map_that_points_nowhere_gives_the_whole_image() -> None:
    assert boxes_of(-torch.ones(1, 3, 3), 24, 0.15).tolist() == [[0, 0, 24, 24]]


def test_an_object_is_found() -> None:
    maps = torch.zeros(1, 8, 8)
    maps[0, 2:4, 5:7] = 1.0
    np.testing.assert_allclose(boxes_of(maps, 64, 0.5)[0], [40, 16, 56, 32], atol=4)


def test_predicted_and_right_classes_have_boxes_of_their_own() -> None:
    with seeded(0):
        model = Classifier(NETS["wrn"](), 3).eval()
    images = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))

    def batches() -> list[Tensor]:
        return list(images.split(4))

    first, second = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    boxes = localise(model, batches, first, second, 16, 0.3)
    swapped = localise(model, batches, second, first, 16, 0.3)
    assert tuple(boxes) == RULES
    for rule in RULES:
        assert np.array_equal(boxes[rule].predicted, swapped[rule].true)
        assert np.array_equal(boxes[rule].true, swapped[rule].predicted)
    maps = torch.cat([model.backbone.maps(part) for part in batches()]).detach()
    expected = boxes_of(activation_maps(maps, model.linear_head()[0], first), 16, 0.3, "minmax")
    assert np.array_equal(boxes["minmax"].predicted, expected)


class Cropping(nn.Module):
    """A classifier whose map of 14 x 14 positions is that of the middle 224 pixels, whatever the image is."""

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.crop = 224
        self.backbone.maps = lambda images: positions.expand(len(images), 1, 14, 14)

    def linear_head(self) -> tuple[Tensor, Tensor]:
        return torch.ones(1, 1), torch.zeros(1)


@pytest.mark.parametrize(("rule", "ends"), [("maximum", (94, 162)), ("minmax", (89, 167))])
def test_maps_of_the_middle_are_thresholded_without_its_border(rule: str, ends: tuple[int, int]) -> None:
    """A background of -1 and an object of 3 at 96 to 160 of 256 pixels: a border of zeros would be above 15 %."""
    positions = torch.full((14, 14), -1.0)
    positions[5:9, 5:9] = 3.0
    labels = torch.zeros(1, dtype=torch.int64)
    images = [torch.zeros(1, 1, 256, 256)]
    found = localise(Cropping(positions), lambda: images, labels, labels, 256, 0.15)[rule]
    assert found.predicted.tolist() == found.true.tolist() == [[ends[0], ends[0], ends[1], ends[1]]]
    assert found.predicted.dtype == np.int32
    everywhere = localise(Cropping(torch.ones(14, 14)), lambda: images, labels, labels, 256, 0.15)[rule]
    assert everywhere.predicted.tolist() == [[16, 16, 240, 240]]  # no pixel that the network did not see


def test_a_model_without_maps_is_refused() -> None:
    class Blind(nn.Module):
        def linear_head(self) -> None:
            return None

    with pytest.raises(ReproodError, match="Blind has no class activation maps"):
        localise(Blind(), list, torch.zeros(1), torch.zeros(1), 8, 0.15)
