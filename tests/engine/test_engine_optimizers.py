"""SGD and Adam against torch.optim, their state, and parameter groups."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from reprood.engine.optimizers import LARS, SGD, Adam, Optimizer, build_optimizer, decay_groups
from reprood.engine.training import Training


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))


def train(net: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        net(torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step(0.1 / (step + 1))


def train_with_torch(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (step + 1)
        optimizer.zero_grad()
        net(torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()


def assert_equal_bits(ours: nn.Module, theirs: nn.Module) -> None:
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_has_the_bits_of_torch(momentum, nesterov, memory, foreach) -> None:
    ours, theirs = make_net().to(memory_format=memory), make_net().to(memory_format=memory)
    training = Training(momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    optimizer = build_optimizer(ours, training, decay_groups(ours, ours[3].parameters()))
    groups = [{"params": list(theirs[:3].parameters())}, {"params": list(theirs[3].parameters()), "weight_decay": 0.0}]
    reference = torch.optim.SGD(
        groups, lr=1.0, momentum=momentum, nesterov=nesterov, weight_decay=0.01, foreach=foreach
    )
    train(ours, optimizer, range(5))
    train_with_torch(theirs, reference, range(5))
    assert_equal_bits(ours, theirs)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.999), (0.0, 0.9)])
def test_adam_has_the_bits_of_torch(betas, memory, foreach) -> None:
    ours, theirs = make_net().to(memory_format=memory), make_net().to(memory_format=memory)
    train(ours, Adam(ours.parameters(), betas), range(5))
    train_with_torch(theirs, torch.optim.Adam(theirs.parameters(), betas=betas, foreach=foreach), range(5))
    assert_equal_bits(ours, theirs)


OPTIMIZERS = {
    "sgd": lambda net: SGD([{"params": list(net.parameters()), "weight_decay": 0.01}], 0.9, True),
    "lars": lambda net: LARS([{"params": list(net.parameters()), "weight_decay": 0.01}], 0.9),
    "adam": lambda net: Adam(net.parameters()),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimiser_continues_with_the_same_bits(tmp_path, name) -> None:
    build = OPTIMIZERS[name]
    uninterrupted = make_net()
    train(uninterrupted, build(uninterrupted), range(6))
    before, after = make_net(), make_net()
    optimizer = build(before)
    train(before, optimizer, range(3))
    torch.save([before.state_dict(), optimizer.state_dict()], tmp_path / "state")
    weights, state = torch.load(tmp_path / "state", weights_only=True)
    after.load_state_dict(weights)
    optimizer = build(after)
    optimizer.load_state_dict(state)
    train(after, optimizer, range(3, 6))
    assert_equal_bits(after, uninterrupted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_without_gradient_are_not_changed(name) -> None:
    """Each parameter's first step is its own: momentum and step counts begin with its first gradient."""
    parameters = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])
    first, second = parameters
    optimizer = OPTIMIZERS[name](parameters)
    optimizer.step(0.5)
    first.grad = torch.ones(2)
    optimizer.step(0.5)
    assert torch.equal(second, torch.ones(2))
    assert not torch.equal(first, torch.ones(2))
    first.grad, second.grad = None, torch.ones(2)
    optimizer.step(0.5)
    assert torch.equal(first, second)
    optimizer.zero_grad()
    assert second.grad is None


def test_first_step_of_sgd() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    SGD([{"params": [weight], "weight_decay": 0.1}], 0.9, False).step(0.5)
    assert torch.allclose(weight, torch.full((2,), 1 - 0.5 * 1.1))


def test_first_step_of_adam_is_the_rate() -> None:
    """Whatever the size of the gradient."""
    weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    weight.grad = torch.tensor([1e-3, -5.0, 100.0])
    Adam([weight], (0.5, 0.999)).step(0.1)
    torch.testing.assert_close(weight.detach(), torch.tensor([0.9, 1.1, 0.9]), rtol=1e-4, atol=0)


def test_groups_must_hold_every_parameter_once() -> None:
    net = make_net()
    with pytest.raises(ValueError, match="exactly once"):
        build_optimizer(net, Training(), [{"params": list(net[0].parameters())}])
    with pytest.raises(ValueError, match="exactly once"):
        build_optimizer(net, Training(), [{"params": list(net.parameters())}, {"params": list(net[0].parameters())}])


@pytest.mark.slow
def test_a_step_does_not_import_the_compiler() -> None:
    """`torch.optim.Optimizer` does, which would cost every job 2 to 3 seconds."""
    code = (
        "import sys, torch, reprood.train.run\n"
        "from torch import nn\n"
        "from reprood.engine.optimizers import LARS, SGD, Adam\n"
        "p = nn.Parameter(torch.ones(2))\n"
        "groups = [{'params': [p], 'weight_decay': 0.1}]\n"
        "for o in (SGD(groups, 0.9, True), LARS(groups, 0.9), Adam([p])):\n"
        "    p.grad = torch.ones(2); o.step(0.1); p.grad = torch.ones(2); o.step(0.1); o.zero_grad()\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
