"""Every backbone: shapes, gradients, the same bits from the same seed, refusal of what it does not know."""

import pytest
import torch

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.nets.classifier import Classifier, width_of
from reprood.nets.registry import backbone, backbones

NAMES = [name for name in backbones() if name != "given"]  # tests/train/test_given.py
SMALL = {
    "cbam_resnet": {"base": 4},
    "densenet": {"depth": 10, "growth": 4},
    "efficientnet": {"variant": "b0", "stochastic_depth": 0},
    "imagenet_resnet": {"base": 4},
    "localising_resnet": {"depth": 18, "base": 4},
    "pyramidnet": {"depth": 11, "widening": 6},
    "resnet": {"depth": 10, "base": 4},
    "resnext": {"depth": 50, "groups": 8, "width": 1},
    "resnet_grid": {"depth": 10, "base": 4},
    "staged": {"width": 4},
    "timm": {"model": "resnet18"},
    "torchvision": {"model": "resnet18"},
    "vgg_gap": {"base": 4},
    "wide": {"depth": 10, "width": 0.25},
    "wrn": {"depth": 10, "width": 0.25},
    "wrn_leaky": {"depth": 10, "width": 1},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_maps_images_to_features(name, channels) -> None:
    images = torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    with seeded(0):
        network = backbone(name)(channels, **SMALL[name])
    with seeded(0):
        again = backbone(name)(channels, **SMALL[name])
    state, other = network.state_dict(), again.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[key], other[key]) for key in state)
    model = Classifier(network, 5)
    features, logits = model.features(images), model(images)
    assert (features.shape, logits.shape) == ((2, width_of(network)), (2, 5))
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images[:1]), network(images)[:1], rtol=1e-4, atol=1e-5)
        if hasattr(network, "maps"):
            assert torch.equal(network.maps(images).mean((2, 3)), network(images))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_options_are_refused_by_name(name) -> None:
    with pytest.raises(ReproodError, match=f"Network '{name}', option 'widht': there is no such option"):
        backbone(name)(3, **SMALL[name], widht=2)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ReproodError, match="no 'vgg' in reprood.nets; known: cbam_resnet, densenet"):
        backbone("vgg")
