"""Stochastic depth and DropBlock: what is dropped, how often, and that nothing changes at test time."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.seeds import seeded
from reprood.methods.network_dropout import Config, branches, changes, drop_blocks, dropping
from reprood.nets import densenet, pyramidnet, resnet, wrn
from reprood.nets.classifier import Classifier

NETS: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "wrn": (lambda: wrn.build(1, depth=16, width=0.5), [2, 2, 2]),
    "resnet": (lambda: resnet.build(1, depth=14, stages=3, base=4), [2, 2, 2]),
    "bottleneck": (lambda: resnet.build(1, depth=50, base=4), [3, 4, 6, 3]),
    "pyramidnet": (lambda: pyramidnet.build(1, depth=20, widening=6), [2, 2, 2]),
}


def batch(progress: float = 1.0, seed: int = 0) -> Batch:
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(4) % 3
    return Batch(images, labels, torch.arange(4), torch.Generator().manual_seed(seed), 0, 0, progress)


@pytest.mark.parametrize("name", NETS)
def test_without_its_branches_a_network_is_its_shortcuts(name: str) -> None:
    make, expected = NETS[name]
    with seeded(0):
        model = Classifier(make(), 3).eval()
    stages = branches(model.backbone)
    assert [len(stage) for stage in stages] == expected
    ends, images = [end for stage in stages for end in stage], batch().images
    before = model(images)
    with dropping([(end, torch.zeros_like) for end in ends]):
        dropped = model(images)
    with torch.no_grad():
        assert torch.equal(model(images), before)  # the changes are gone
        assert not torch.equal(dropped, before)
        for end in ends:  # what they return is a multiple of these
            for parameter in end.parameters():
                parameter.zero_()
        torch.testing.assert_close(model(images), dropped)


def test_stochastic_depth_keeps_blocks_by_the_linear_rule() -> None:
    stages = branches(wrn.build(1, depth=16, width=0.5))
    factors = torch.tensor(
        [
            [float(change(torch.ones(()))) for _, change in changes(Config(), stages, batch(seed=seed))]
            for seed in range(4000)
        ]
    )
    keep = 1 - 0.25 * torch.arange(1, 7) / 6
    torch.testing.assert_close((factors > 0).float().mean(0), keep, rtol=0, atol=0.03)
    torch.testing.assert_close(factors.max(0).values, 1 / keep)  # so that the mean is 1


def plain_drop_blocks(maps: Tensor, rate: float, size: int, generator: torch.Generator) -> Tensor:
    """Algorithm 1, one square after the other."""
    height, width = maps.shape[2:]
    rows, columns = height - size + 1, width - size + 1
    corners = torch.rand((*maps.shape[:2], rows, columns), generator=generator)
    mask = torch.ones_like(maps)
    for i, j, row, column in (corners < rate / size**2 * height * width / (rows * columns)).nonzero().tolist():
        mask[i, j, row : row + size, column : column + size] = 0
    return maps * mask * mask.numel() / mask.sum()


@pytest.mark.parametrize("size", [1, 3, 4])
def test_dropblock_sets_squares_to_zero_and_keeps_the_mean(size: int) -> None:
    maps = torch.rand(8, 4, 12, 9, generator=torch.Generator().manual_seed(1)) + 0.5
    found = drop_blocks(maps, 0.1, size, torch.Generator().manual_seed(2))
    torch.testing.assert_close(found, plain_drop_blocks(maps, 0.1, size, torch.Generator().manual_seed(2)))
    assert float((found == 0).float().mean()) == pytest.approx(0.1, abs=0.03)
    assert torch.equal(drop_blocks(maps, 0.0, size, torch.Generator()), maps)


def test_the_factor_of_dropblock_is_not_rounded_to_half_precision() -> None:
    """Of 512 x 33 x 33 values, bfloat16 counts in steps of 2,048 or more."""
    maps = (torch.rand(4, 128, 33, 33, generator=torch.Generator().manual_seed(1)) + 0.5).bfloat16()
    found = drop_blocks(maps, 0.1, 4, torch.Generator().manual_seed(2))
    kept = found > 0
    assert torch.equal(found, (maps.float() * kept * (kept.numel() / kept.sum())).bfloat16())


def test_dropblock_acts_on_the_last_two_stages_and_rises_during_training() -> None:
    stages = branches(wrn.build(1, depth=16, width=0.5))
    config = Config(kind="dropblock", rate=0.1)
    assert [place for place, _ in changes(config, stages, batch())] == [*stages[1], *stages[2]]
    maps = torch.ones(8, 8, 16, 16)
    shares = [float((changes(config, stages, batch(p))[0][1](maps) == 0).float().mean()) for p in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0, 0.05, 0.1], abs=0.01)


def test_a_network_without_known_blocks_and_one_that_ignores_changes_are_refused() -> None:
    with pytest.raises(ReproodError, match="Residual branches are dropped, and DenseNet has none"):
        branches(densenet.build(1, depth=10, growth=4))
    with pytest.raises(ReproodError, match="Nothing was dropped"), dropping([(nn.Identity(), torch.zeros_like)]):
        pass
