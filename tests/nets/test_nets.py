"""Every network in every small form: shapes, gradients, layouts, storage, seeds, precision, parameter counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.nets import densenet, pyramidnet, resnet, wrn
from reprood.nets.classifier import Classifier
from reprood.nets.layers import conv1x1

BUILDERS = {"wrn": wrn.build, "resnet": resnet.build, "pyramidnet": pyramidnet.build, "densenet": densenet.build}

# Small forms of every kind of block and option.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "wrn-10-1": ("wrn", {"depth": 10, "width": 1}),
    "wrn-10-1-stem2": ("wrn", {"depth": 10, "width": 1, "stem_stride": 2}),
    "wrn-16-half-dropout": ("wrn", {"depth": 16, "width": 0.5, "dropout": 0.3}),
    "wrn-16-2": ("wrn", {"depth": 16, "width": 2}),
    "resnet-10": ("resnet", {"depth": 10, "base": 8}),
    "resnet-18": ("resnet", {"depth": 18, "base": 8}),
    "resnet-50": ("resnet", {"depth": 50, "base": 4}),
    "resnet-20": ("resnet", {"depth": 20, "stages": 3}),
    "resnet-11-bottleneck": ("resnet", {"depth": 11, "stages": 3, "block": "bottleneck"}),
    "pyramidnet-11": ("pyramidnet", {"depth": 11, "widening": 6}),
    "pyramidnet-14-basic": ("pyramidnet", {"depth": 14, "widening": 10, "block": "basic"}),
    "densenet-22-6": ("densenet", {"depth": 22, "growth": 6}),
}
SIZES = [(1, 28, 28), (3, 32, 32), (3, 64, 64)]
CLASSES = 7


def make(name: str, channels: int = 3, seed: int = 0) -> Classifier:
    kind, options = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(BUILDERS[kind](channels, **options), CLASSES)


def images(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", SIZES)
def test_forward_in_evaluation(name: str, size: tuple[int, int, int]) -> None:
    """Features are [B, width] and at least 0, logits are the head's affine map of them, one image is enough."""
    model = make(name, size[0]).eval()
    batch = images((3, *size))
    with torch.no_grad():
        features, logits = model.features(batch), model(batch)
        single = model(batch[:1])
    assert features.shape == (3, model.width)
    assert features.min() >= 0
    weight, bias = model.linear_head()
    assert weight.shape == (CLASSES, model.width)
    torch.testing.assert_close(logits, features @ weight.T + bias, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(single, logits[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", SIZES)
def test_every_parameter_gets_a_gradient(name: str, size: tuple[int, int, int]) -> None:
    model = make(name, size[0]).train()
    functional.cross_entropy(model(images((4, *size))), torch.arange(4)).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_equals_contiguous(name: str) -> None:
    model = make(name).eval()
    batch = images((4, 3, 32, 32))
    with torch.no_grad():
        expected = model(batch)
        outcome = model.to(memory_format=torch.channels_last)(batch.to(memory_format=torch.channels_last))
    torch.testing.assert_close(outcome, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_safetensors_round_trip(name: str, tmp_path: Path) -> None:
    model = make(name).train()
    model(images((4, 3, 32, 32)))  # moves the running statistics
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = make(name, seed=9)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    batch = images((2, 3, 32, 32))
    with torch.no_grad():
        assert torch.equal(model.eval()(batch), other.eval()(batch))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_decides_the_start(name: str) -> None:
    first, again, other = (make(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NETWORKS)
def test_bf16_autocast_agrees(name: str) -> None:
    model = make(name).eval()
    batch = images((8, 3, 32, 32))
    with torch.no_grad():
        expected = model(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outcome = model(batch).float()
    assert (outcome - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    ("kind", "options", "classes", "count"),
    [
        ("pyramidnet", {"depth": 200, "widening": 240}, 100, 26_844_952),
        ("pyramidnet", {"depth": 200, "widening": 240}, 10, 26_752_702),
        ("pyramidnet", {"depth": 110, "widening": 64}, 100, 1_725_300),
        ("pyramidnet", {"depth": 110, "widening": 64, "block": "basic"}, 100, 2_623_666),
        ("resnet", {"depth": 110, "stages": 3, "block": "bottleneck"}, 100, 1_170_868),
        ("resnet", {"depth": 110, "stages": 3, "block": "basic"}, 100, 1_736_564),
        ("resnet", {"depth": 20, "stages": 3}, 100, 278_324),
        ("resnet", {"depth": 18}, 10, 11_173_962),
        ("resnet", {"depth": 18}, 100, 11_220_132),
        ("resnet", {"depth": 34}, 11, 21_282_635),
        ("resnet", {"depth": 50}, 11, 23_522_891),
        ("densenet", {}, 10, 769_162),
        ("densenet", {}, 11, 769_505),
        ("densenet", {}, 101, 800_375),
        ("wrn", {"depth": 40, "width": 2}, 10, 2_243_546),
        ("wrn", {"depth": 40, "width": 2}, 11, 2_243_675),
        ("wrn", {"depth": 40, "width": 2}, 101, 2_255_285),
        ("wrn", {"depth": 28, "width": 10}, 10, 36_479_194),
    ],
)
def test_parameter_counts_of_the_papers(kind: str, options: dict[str, Any], classes: int, count: int) -> None:
    with torch.device("meta"):
        model = Classifier(BUILDERS[kind](3, **options), classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(
    ("kind", "options", "width"),
    [
        ("wrn", {}, 128),
        ("wrn", {"depth": 10, "width": 1}, 64),
        ("resnet", {}, 512),
        ("resnet", {"depth": 50}, 2048),
        ("resnet", {"depth": 110, "stages": 3, "block": "bottleneck"}, 256),
        ("pyramidnet", {}, 1024),
        ("densenet", {}, 342),
    ],
)
def test_widths_of_the_papers(kind: str, options: dict[str, Any], width: int) -> None:
    with torch.device("meta"):
        assert BUILDERS[kind](3, **options).width == width


@pytest.mark.parametrize("name", ["wrn-10-1", "resnet-20", "pyramidnet-11", "densenet-22-6"])
def test_global_pooling_is_the_papers_pooling_at_32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(name).eval()
    batch = images((2, 3, 32, 32))
    with torch.no_grad():
        expected = model.features(batch)
        module = {"wrn": wrn, "resnet": resnet, "pyramidnet": pyramidnet, "densenet": densenet}[NETWORKS[name][0]]
        monkeypatch.setattr(module, "global_pool", lambda maps: functional.avg_pool2d(maps, 8).view(len(maps), -1))
        torch.testing.assert_close(model.features(batch), expected, rtol=1e-5, atol=1e-6)


def test_start_is_that_of_the_code_bases() -> None:
    """N(0, 2 / (k k out)) for convolutions; the classifier's bias starts at 0 in the Wide ResNet and DenseNet code."""
    backbone = wrn.build(3, depth=16, width=4)
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 4_000:
            expected = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
            assert abs(float(module.weight.detach().std()) / expected - 1) < 0.06, name
    assert Classifier(backbone, 10).head.bias.abs().sum() == 0
    assert Classifier(densenet.build(3, depth=10), 10).head.bias.abs().sum() == 0
    assert Classifier(resnet.build(3, base=8), 10).head.bias.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "fan_out"), [({}, False), ({"init": "default"}, False), ({"init": "fan_out"}, True)]
)
def test_a_resnet_18_starts_as_in_csi_or_as_in_resmooth(options: dict[str, Any], fan_out: bool) -> None:
    """torchvision's start is N(0, 2 / fan out): deviations 0.0589 to 0.0208; PyTorch's is U with 1 / sqrt(3 fan in)."""
    with seeded(0):
        network = resnet.build(3, depth=18, **options)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            area, like_he = module.kernel_size[0] ** 2, fan_out and name != "stem"
            expected = (2 / (area * module.out_channels) if like_he else 1 / (3 * area * module.in_channels)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.06), name
    first, last = (network.stages[stage][0].conv2.weight.detach() for stage in (0, 3))
    if fan_out:
        assert float(first.std()) == pytest.approx(0.0589, rel=0.02)
        assert float(last.std()) == pytest.approx(0.0208, rel=0.02)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(bool((norm.weight == 1).all()) and bool((norm.bias == 0).all()) for norm in norms)


def test_a_densenet_starts_as_in_the_code_of_cnc() -> None:
    """N(0, 2 / 16) for every convolution of DenseNet-BC-100, whose blocks have 16 layers."""
    with seeded(0):
        network = densenet.build(3, depth=100, growth=12, init_std=0.35355)
    large = [m.weight.detach() for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 4_000]
    assert len(large) > 50
    assert all(float(weight.std()) == pytest.approx((2 / 16) ** 0.5, rel=0.05) for weight in large)


def test_the_default_start_of_a_resnet_depends_on_its_family() -> None:
    def weights(**options: Any) -> list[torch.Tensor]:
        with seeded(3):
            return list(resnet.build(3, base=4, **options).parameters())

    def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(weights(**first), weights(**second), strict=True))

    three, four = {"depth": 8, "stages": 3}, {"depth": 10}
    assert equal(three, {**three, "init": "fan_out"})
    assert not equal(three, {**three, "init": "default"})
    assert equal(four, {**four, "init": "default"})
    assert not equal(four, {**four, "init": "fan_out"})


def test_dropout_acts_in_training_only() -> None:
    model = make("wrn-16-half-dropout")
    batch = images((4, 3, 32, 32))
    with torch.no_grad():
        model.eval()
        assert torch.equal(model(batch), model(batch))
        model.train()
        assert not torch.equal(model(batch), model(batch))


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("wrn", {"depth": 12}, r"6n \+ 4"),
        ("wrn", {"width": 0}, "width"),
        ("wrn", {"dropout": 1.0}, "dropout"),
        ("wrn", {"stem_stride": 3}, "stem_stride"),
        ("wrn", {"depht": 10}, "no such option; choose from depth, width"),
        ("resnet", {"depth": 19}, "10, 18, 34, 50"),
        ("resnet", {"depth": 18, "block": "bottleneck"}, "basic"),
        ("resnet", {"depth": 18, "stages": 3}, r"6n \+ 2"),
        ("resnet", {"depth": 20, "stages": 3, "block": "bottleneck"}, None),
        ("resnet", {"depth": 21, "stages": 3, "block": "bottleneck"}, r"9n \+ 2"),
        ("pyramidnet", {"depth": 201}, r"9n \+ 2"),
        ("pyramidnet", {"widening": -1}, "widening"),
        ("densenet", {"depth": 101}, r"6n \+ 4"),
        ("densenet", {"growth": 0}, "growth"),
    ],
)
def test_impossible_options_are_named(kind: str, options: dict[str, Any], words: str | None) -> None:
    if words is None:
        BUILDERS[kind](3, **options)
        return
    with pytest.raises(ReproodError, match=words) as caught:
        BUILDERS[kind](3, **options)
    assert f"'{kind}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", BUILDERS)
def test_images_have_channels(kind: str) -> None:
    with pytest.raises(ReproodError, match="channels"):
        BUILDERS[kind](0)


def test_a_backbone_says_how_wide_it_is() -> None:
    with pytest.raises((AttributeError, TypeError), match="width"):
        Classifier(nn.Flatten(), 3)


@pytest.mark.parametrize("inputs", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("side", [7, 8])
def test_strided_pointwise_convolution_is_a_convolution(inputs: int, side: int) -> None:
    """With a strided kernel, its gradient in channels-last format corrupts memory on some processors."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, inputs, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
    layer = conv1x1(inputs, 8, 2).to(memory_format=torch.channels_last)
    images.requires_grad_()
    slopes = torch.autograd.grad(layer(images).square().sum(), (images, layer.weight))
    exact = images.detach().double().contiguous().requires_grad_(), layer.weight.detach().double().requires_grad_()
    outcome = functional.conv2d(exact[0], exact[1], stride=2)
    torch.testing.assert_close(layer(images).double(), outcome, rtol=1e-4, atol=1e-5)
    for found, expected in zip(slopes, torch.autograd.grad(outcome.square().sum(), exact), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
