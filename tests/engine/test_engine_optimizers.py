"""SGD against torch.optim, and parameter groups."""

import pytest
import torch
from torch import nn

from reprood.engine.optimizers import SGD, build_optimizer, decay_groups
from reprood.engine.training import Training


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_equal_bits_to_torch(momentum, nesterov, memory) -> None:
    ours, theirs = make_net().to(memory_format=memory), make_net().to(memory_format=memory)
    training = Training(momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    optimizer = build_optimizer(ours, training, decay_groups(ours, ours[3].parameters()))
    groups = [{"params": list(theirs[:3].parameters())}, {"params": list(theirs[3].parameters()), "weight_decay": 0.0}]
    reference = torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=nesterov, weight_decay=0.01, foreach=False)
    for step in range(5):
        images = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(step))
        rate = 0.1 / (step + 1)
        for group in reference.param_groups:
            group["lr"] = rate
        for net, chosen in ((ours, optimizer), (theirs, reference)):
            chosen.zero_grad()
            net(images).square().mean().backward()
        optimizer.step(rate)
        reference.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)


def test_parameters_without_gradient_stay() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = SGD([{"params": [first, second], "weight_decay": 0.1}], 0.9, False)
    first.grad = torch.ones(2)
    optimizer.step(0.5)
    assert torch.equal(second, torch.ones(2))
    assert torch.allclose(first, torch.full((2,), 1 - 0.5 * 1.1))
    first.grad, second.grad = None, torch.ones(2)
    optimizer.step(0.5)
    assert torch.allclose(second, torch.full((2,), 1 - 0.5 * 1.1))


def test_groups_must_hold_every_parameter_once() -> None:
    net = make_net()
    with pytest.raises(ValueError, match="exactly once"):
        build_optimizer(net, Training(), [{"params": list(net[0].parameters())}])
    with pytest.raises(ValueError, match="exactly once"):
        build_optimizer(net, Training(), [{"params": list(net.parameters())}, {"params": list(net[0].parameters())}])


def test_training_does_not_import_the_compiler() -> None:
    """The reason for an optimiser of our own: 3 seconds a job."""
    import os
    import subprocess
    import sys

    code = (
        "import sys, torch; from torch import nn; from reprood.engine.optimizers import SGD\n"
        "p = nn.Parameter(torch.ones(2)); p.grad = torch.ones(2)\n"
        "import reprood.train.run\n"
        "o = SGD([{'params': [p], 'weight_decay': 0.1}], 0.9, True); o.step(0.1); o.zero_grad()\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
