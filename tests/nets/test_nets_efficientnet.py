"""EfficientNet: torchvision's output and levels, published weights, channels, frozen or random depth."""

import pytest
import torch
import torchvision

from reprood.core.errors import ReproodError
from reprood.nets.efficientnet import LAST, WIDTHS, build
from reprood.nets.imagenet_weights import load_imagenet

CHANNELS_B4 = 272  # of Rippel's level 7


def images(channels: int = 3, size: int = 40) -> torch.Tensor:
    return torch.randn(2, channels, size, size + 24, generator=torch.Generator().manual_seed(0))


def test_same_as_torchvision() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.efficientnet_b0(weights=None).eval()
    ours = build(3, variant="b0").eval()
    ours.load_torchvision(theirs.state_dict())
    with torch.no_grad():
        expected = theirs.avgpool(theirs.features(images())).flatten(1)
        torch.testing.assert_close(ours(images()), expected, rtol=1e-4, atol=1e-6)
        x = images()
        for level, stage in enumerate(theirs.features, start=1):
            x = stage(x)
            assert torch.equal(ours.maps(images(), level), x)
            assert x.shape[1] == ours.level_widths[level - 1]
    assert level == LAST
    assert ours.width == WIDTHS["b0"][-1]


def test_b4_is_the_default() -> None:
    with torch.device("meta"):
        network = build(3)
    assert network.width == 1792
    assert network.level_widths[7 - 1] == CHANNELS_B4
    for level, width in enumerate(network.level_widths, start=1):
        parameters = [p for p in network.levels[level - 1].parameters() if p.dim() == 1]
        assert parameters[-1].shape == (width,)
    # of torchvision's 19,341,616 parameters all but those of the classifier
    assert sum(p.numel() for p in network.parameters()) == 19_341_616 - 1793 * 1000


def test_published_weights(monkeypatch) -> None:
    weights = torchvision.models.EfficientNet_B0_Weights
    state = torchvision.models.efficientnet_b0(weights=None).state_dict()
    monkeypatch.setattr(weights, "get_state_dict", lambda self, **options: state)
    network = build(3, variant="b0")
    load_imagenet(network)
    assert torch.equal(network.levels[0][0].weight, state["features.0.0.weight"])
    with pytest.raises(ReproodError, match="do not fit efficientnet_b0 with 1 channels"):
        load_imagenet(build(1, variant="b0"))


def test_depth_is_random_in_training_only() -> None:
    network = build(3, variant="b0", stochastic_depth=0.9)
    x = images(size=64).repeat(4, 1, 1, 1)
    torch.manual_seed(0)
    assert len(torch.unique(network.train()(x)[::2].round(decimals=3), dim=0)) > 1  # equal images, other features
    still = network.eval()(x)
    torch.testing.assert_close(still[0], still[2])
    shallow = build(3, variant="b0", stochastic_depth=0)
    torch.testing.assert_close(*shallow.train()(x)[:3:2], rtol=1e-4, atol=1e-5)
