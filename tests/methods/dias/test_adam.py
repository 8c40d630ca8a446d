"""Adam against torch.optim, and its state."""

import pytest
import torch
from torch import nn

from reprood.methods.dias.adam import Adam


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 64, 4))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.999), (0.0, 0.9)])
def test_equal_bits_to_torch(betas, memory) -> None:
    ours, theirs = make_net().to(memory_format=memory), make_net().to(memory_format=memory)
    optimizer = Adam(ours.parameters(), betas)
    reference = torch.optim.Adam(theirs.parameters(), lr=1.0, betas=betas, foreach=False)
    for step in range(5):
        images = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(step))
        reference.param_groups[0]["lr"] = rate = 0.1 / (step + 1)
        for net, chosen in ((ours, optimizer), (theirs, reference)):
            chosen.zero_grad()
            net(images).square().mean().backward()
        optimizer.step(rate)
        reference.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_first_step_is_the_rate() -> None:
    """Whatever the size of the gradient."""
    parameter = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    optimizer = Adam([parameter], (0.5, 0.999))
    parameter.grad = torch.tensor([1e-3, -5.0, 100.0])
    optimizer.step(0.1)
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.9, 1.1, 0.9]), rtol=1e-4, atol=0)


def test_parameters_without_gradient_stay_and_count_their_own_steps() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Adam([first, second])
    first.grad = torch.ones(2)
    optimizer.step(0.1)
    assert torch.equal(second, torch.ones(2))
    first.grad, second.grad = None, torch.ones(2)
    optimizer.step(0.1)
    assert torch.equal(first, second)
    assert optimizer.state_dict()["steps"] == [1, 1]


def test_state_goes_on() -> None:
    def train(net, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            net(torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(step))).square().mean().backward()
            optimizer.step(0.01)

    whole = make_net()
    train(whole, Adam(whole.parameters()), range(6))
    half, again = make_net(), make_net()
    first = Adam(half.parameters())
    train(half, first, range(3))
    again.load_state_dict(half.state_dict())
    second = Adam(again.parameters())
    second.load_state_dict(first.state_dict())
    train(again, second, range(3, 6))
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
