"""The staged network: entering between stages, sets of normalisation, sizes; generator and discriminator."""

import pytest
import torch
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.methods.dias.dcgan import Discriminator, Generator, sides
from reprood.nets.staged import Staged, Unit, build


def images(channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(4, channels, size, size, generator=torch.Generator().manual_seed(0))


def small(**options: object) -> Staged:
    with seeded(0):
        return build(3, **{"width": 4, **options})


@pytest.mark.parametrize(("stride", "maps"), [(1, (16, 8, 4)), (2, (8, 4, 2))])
def test_shapes(stride, maps) -> None:
    net = small(stem_stride=stride).eval()
    first, second, features = net.outputs(images(size=32))
    assert first.shape == (4, 8, maps[0], maps[0])
    assert second.shape == (4, 8, maps[1], maps[1])
    assert net.maps(images(size=32)).shape == (4, 8, maps[2], maps[2])
    assert features.shape == (4, 8)
    assert net.width == 8
    assert torch.equal(features, net(images(size=32)))


def test_paper_size() -> None:
    net = build(3)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [64, 64, 128] + 6 * [128]
    assert [conv.stride[0] for conv in convolutions] == [1, 1, 2] * 3
    assert net.width == 128
    assert [stage.dropout for stage in net.stages] == [0.2] * 3
    assert all(conv.bias is None for conv in convolutions)


def test_entering_between_stages_is_the_same_path() -> None:
    net = small().eval()
    first, second, features = net.outputs(images())
    for behind, maps in ((0, images()), (1, first), (2, second)):
        assert torch.equal(net.features_from(maps, behind), features)


def test_sets_of_normalisation_are_apart() -> None:
    net = small(dropout=0.0)
    net.add_norms()
    units = [module for module in net.modules() if isinstance(module, Unit)]
    before = [unit.norms[0].running_mean.clone() for unit in units]
    net.train().outputs(images(), 1)
    for unit, mean in zip(units, before, strict=True):
        assert torch.equal(unit.norms[0].running_mean, mean)
        assert int(unit.norms[0].num_batches_tracked) == 0
        assert int(unit.norms[1].num_batches_tracked) == 1
    net.eval()
    assert not torch.allclose(net.outputs(images(), 0)[2], net.outputs(images(), 1)[2])
    with pytest.raises(IndexError):
        net.outputs(images(), 2)


def test_whole_channels_are_dropped_in_training_alone() -> None:
    net = small(dropout=0.5)
    seen = []
    net.stages[0].units[0].conv.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with seeded(1):
        net.train()(images())
    net.eval()(images())
    trained, evaluated = seen
    empty = (trained == 0).flatten(2).all(2)
    assert 0 < int(empty.sum()) < empty.numel()
    torch.testing.assert_close(trained[~empty], 2 * images()[~empty])
    assert torch.equal(evaluated, images())


def test_initialisation() -> None:
    with seeded(0):
        net = build(3)
    net.add_norms()
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 1e4:
            assert float(module.weight.detach().std()) == pytest.approx(0.05, rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.5)
            assert float(module.weight.detach().mean()) == pytest.approx(1.0, abs=0.02)
            assert not module.bias.detach().any()


@pytest.mark.parametrize("options", [{"width": 0}, {"dropout": 1.0}, {"stem_stride": 3}, {"depth": 10}])
def test_wrong_options(options) -> None:
    with pytest.raises(ReproodError, match="Network 'staged'"):
        build(3, **options)


@pytest.mark.parametrize(
    ("size", "expected"), [(32, (4, 3)), (28, (7, 2)), (64, (4, 4)), (16, (4, 2)), (6, (3, 1)), (20, (5, 2))]
)
def test_generator_and_discriminator_of_other_sizes(size, expected) -> None:
    assert sides(size) == expected
    with seeded(0):
        generator, discriminator = Generator(10, 1, size, 4), Discriminator(1, size, 4)
    made = generator(torch.randn(3, 10, 1, 1, generator=torch.Generator().manual_seed(0)))
    assert made.shape == (3, 1, size, size)
    assert made.min() > 0
    assert made.max() < 1
    assert discriminator(made).shape == (3,)
    assert generator.grow[0].out_channels == discriminator.last.in_channels == 4 * 2 ** (expected[1] - 1)


def test_generator_of_the_papers_size() -> None:
    generator, discriminator = Generator(100, 3, 32, 128), Discriminator(3, 32, 128)
    assert [layer.out_channels for layer in generator.grow] == [512, 256, 128, 3]
    assert [layer.kernel_size[0] for layer in generator.grow] == [4, 4, 4, 4]
    assert [layer.out_channels for layer in [*discriminator.shrink, discriminator.last]] == [128, 256, 512, 1024]
    assert len(discriminator.norms) == 2


@pytest.mark.parametrize("size", [4, 7, 15])
def test_sides_that_cannot_be_halved(size) -> None:
    with pytest.raises(ReproodError, match=f"{size} pixels"):
        Generator(10, 1, size, 4)
