"""Modes of a network under attack: what is used, what is left as it was."""

import pytest
import torch
from tiny_problem import Net
from torch import nn

from reprood.attacks.modes import evaluating, unrecorded


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_unrecorded_statistics() -> None:
    network, images = Net().train(), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = state(network)
    with unrecorded(network):
        inside = network(images)
    assert same(before, state(network))
    torch.testing.assert_close(network(images), inside)  # the batch's statistics, as in training
    assert not same(before, state(network))


def test_evaluating() -> None:
    network, images = Net().train(), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = state(network)
    with evaluating(network):
        inside = network(images)
        assert not network.norm.training
    assert network.norm.training
    assert same(before, state(network))
    assert torch.equal(network.eval()(images), inside)
    with evaluating(network):
        pass
    assert not network.training


@pytest.mark.parametrize("mode", [evaluating, unrecorded])
def test_an_error_inside(mode) -> None:
    network = Net().train()
    with pytest.raises(ValueError, match="inside"), mode(network):
        raise ValueError("inside")
    assert network.norm.training
    assert network.norm.track_running_stats
