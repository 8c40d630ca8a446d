"""The wide residual network of the adversarial training code: padding, shortcuts, number of parameters, options."""

import pytest
import torch
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.nets import wrn_leaky
from reprood.nets.classifier import Classifier
from reprood.nets.wrn_leaky import Block, SameConv3x3


@pytest.mark.parametrize("side", [4, 5, 7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_padding(side: int, stride: int) -> None:
    """As TensorFlow: ceil(n / s) outputs, the padding split evenly, the odd one behind."""
    layer = SameConv3x3(2, 3, stride)
    images = torch.randn(2, 2, side, side + 1, generator=torch.Generator().manual_seed(0))
    pads = []
    for length in (side + 1, side):
        total = max((-(-length // stride) - 1) * stride + 3 - length, 0)
        pads += [total // 2, total - total // 2]
    wanted = functional.conv2d(functional.pad(images, pads), layer.weight, stride=stride)
    torch.testing.assert_close(layer(images), wanted)
    assert wanted.shape[2:] == (-(-side // stride), -(-(side + 1) // stride))


def test_shortcut_without_weights() -> None:
    """With the last convolution at 0 a unit gives its shortcut: pooled, zero channels on both sides."""
    for activated in (False, True):
        unit = Block(2, 8, 2, activated).eval()
        torch.nn.init.zeros_(unit.conv2.weight)
        maps = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
        taken = functional.leaky_relu(unit.norm1(maps), 0.1) if activated else maps
        found = unit(maps)
        torch.testing.assert_close(found[:, 3:5], functional.avg_pool2d(taken, 2))
        assert not found[:, :3].any()
        assert not found[:, 5:].any()


def test_parameters_of_wrn_28_10() -> None:
    """Convolutions 3x3 alone, two batch norms a unit, one at the end, a head: counted by hand."""
    with torch.device("meta"):
        model = Classifier(wrn_leaky.build(3), 10)
    shapes = [(16, 160), *[(160, 160)] * 7, (160, 320), *[(320, 320)] * 7, (320, 640), *[(640, 640)] * 7]
    convolutions = 9 * (3 * 16 + sum(i * o for i, o in shapes))
    norms = 2 * (sum(i for i, _ in shapes) + 640)
    assert model.width == 640
    assert sum(parameter.numel() for parameter in model.parameters()) == convolutions + norms + 640 * 10 + 10


@pytest.mark.parametrize(("channels", "size", "stride"), [(1, 28, 2), (1, 28, 1), (3, 32, 1), (3, 64, 2)])
def test_forward_and_gradient(channels: int, size: int, stride: int) -> None:
    network = wrn_leaky.build(channels, depth=10, width=1, stem_stride=stride)
    images = torch.randn(3, channels, size, size)
    before = images.clone()
    features = network(images)
    assert features.shape == (3, network.width) == (3, 64)
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert torch.equal(images, before)
    torch.testing.assert_close(network.eval().maps(images).mean((2, 3)), network(images))


@pytest.mark.parametrize(
    ("options", "message"), [({"depth": 27}, "6n"), ({"width": 0}, "width"), ({"dropout": 0.3}, "dropout")]
)
def test_bad_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ReproodError, match=message):
        wrn_leaky.build(3, **options)
