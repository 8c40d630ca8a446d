"""ResNets for large images: torchvision's, number by number; published weights and where they cannot be had."""

import urllib.error

import pytest
import torch
import torchvision
from torch import nn

from reprood.core.errors import ReproodError
from reprood.nets import imagenet_resnet, wrn
from reprood.nets.imagenet_resnet import build, torchvision_name
from reprood.nets.imagenet_weights import load_imagenet


def images(channels: int = 3, size: int = 64) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_same_as_torchvision(depth: int) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(f"resnet{depth}", weights=None)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = build(3, depth=depth)
    ours.load_torchvision(theirs.state_dict())
    theirs.fc = nn.Identity()
    assert set(map(torchvision_name, ours.state_dict())) == set(theirs.state_dict())
    with torch.no_grad():
        expected = theirs.eval()(images())
        found = ours.eval()(images())
        maps = ours.maps(images())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.shape == (2, ours.width)
    assert maps.shape == (2, ours.width, 2, 2)
    torch.testing.assert_close(maps.mean((2, 3)), found)


def test_gradients_and_few_channels() -> None:
    network = build(1, base=4)
    network(images(1)).sum().backward()
    assert network.width == 32
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_weights_that_do_not_fit() -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    for network in (build(1), build(3, depth=34), build(3, base=8)):
        with pytest.raises(ReproodError, match="do not fit the network imagenet_resnet"):
            network.load_torchvision(state)


def test_published_weights(monkeypatch) -> None:
    weights = torchvision.models.ResNet18_Weights
    state = torchvision.models.resnet18(weights=None).state_dict()
    monkeypatch.setattr(weights, "get_state_dict", lambda self, **options: state)
    network = build(3)
    load_imagenet(network)
    assert torch.equal(network.stem.weight, state["conv1.weight"])


def test_weights_that_cannot_be_had(monkeypatch) -> None:
    def fail(self: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fail)
    with pytest.raises(
        ReproodError, match=r"cannot be loaded.*no route to host.*checkpoints/resnet18-.*pretrained to false"
    ):
        load_imagenet(build(3))
    with pytest.raises(ReproodError, match="no ImageNet weights for the network WideResNet"):
        load_imagenet(wrn.build(3, depth=10, width=1))


def test_options() -> None:
    with pytest.raises(ReproodError, match="depth"):
        build(3, depth=20)
    assert sum(p.numel() for p in imagenet_resnet.build(3).parameters()) == 11_176_512
