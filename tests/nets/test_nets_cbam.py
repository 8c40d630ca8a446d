"""ResNet-18 with CBAM: the authors' block with their stored weights, parameters, the gates by hand, the start."""

import re

import golden_files
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.methods.ss_one_class import TransformationHeads
from reprood.nets import cbam_resnet
from reprood.nets.cbam_resnet import Attention, AttentiveBasic
from reprood.nets.classifier import Classifier
from reprood.nets.resnet import Basic

GATES = {
    "ChannelGate.mlp.1": "channel.mlp.0",
    "ChannelGate.mlp.3": "channel.mlp.2",
    "SpatialGate.spatial.conv": "spatial.conv",
    "SpatialGate.spatial.bn": "spatial.norm",
}


def load_all(module: nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Every stored array has its place, and every tensor but the counters of batches gets one."""
    state = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)


def our_name(name: str) -> str:
    """`cbam.SpatialGate.spatial.bn.weight` -> `attention.spatial.norm.weight` and so on."""
    if name.startswith("cbam."):
        module, _, tensor = name.removeprefix("cbam.").rpartition(".")
        return f"attention.{GATES[module]}.{tensor}"
    return re.sub(r"^bn", "norm", name).replace("downsample", "shortcut")


def close(ours: torch.Tensor, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.golden
def test_block_reference() -> None:
    arrays = golden_files.load("ss_ood", "cbam_block")
    places = ("conv", "bn", "downsample", "cbam.")
    weights = {our_name(key): value for key, value in arrays.items() if key.startswith(places)}
    images, maps = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["cbam_in"])
    channels = len(arrays["bn1.weight"])
    reduction = channels // len(arrays["cbam.ChannelGate.mlp.1.bias"])
    stride = images.shape[2] // arrays["out_eval"].shape[2]
    block = AttentiveBasic(images.shape[1], channels, stride, reduction)
    load_all(block, weights)
    block.eval()
    close(block(images), arrays["out_eval"])
    close(block.attention.channel(maps), arrays["cbam_channel"])
    close(block.attention(maps), arrays["cbam_out_eval"])
    block.train()
    close(block.attention(maps), arrays["cbam_out_train"])
    norm = block.attention.spatial.norm
    close(norm.running_mean, arrays["spatial_bn_running_mean_after"])
    close(norm.running_var, arrays["spatial_bn_running_var_after"])


@pytest.mark.parametrize(("attention", "parameters"), [(True, 11_271_522), (False, 11_181_642)])
def test_number_of_parameters(attention, parameters) -> None:
    with torch.device("meta"):
        model = Classifier(cbam_resnet.build(3, attention), 10)
    assert model.width == 512
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_gates_against_loops() -> None:
    torch.manual_seed(0)
    gates = Attention(8, reduction=4).eval()
    nn.init.normal_(gates.spatial.norm.weight)
    maps = torch.randn(2, 8, 5, 4)
    slow = torch.empty_like(maps)
    with torch.no_grad():
        first, second = gates.channel.mlp[0], gates.channel.mlp[2]
        for b in range(2):
            pooled = [torch.stack([how(maps[b, c]) for c in range(8)]) for how in (torch.mean, torch.max)]
            hidden = [torch.relu(first.weight @ p + first.bias) for p in pooled]
            logits = sum(second.weight @ h + second.bias for h in hidden)
            scaled = torch.stack([maps[b, c] / (1 + torch.exp(-logits[c])) for c in range(8)])
            planes = functional.pad(torch.stack((scaled.max(0).values, scaled.mean(0))), (3, 3, 3, 3))
            for i in range(5):
                for j in range(4):
                    value = (planes[:, i : i + 7, j : j + 7] * gates.spatial.conv.weight[0]).sum()
                    norm = gates.spatial.norm
                    value = value / torch.sqrt(1 + torch.tensor(norm.eps)) * norm.weight[0] + norm.bias[0]
                    slow[b, :, i, j] = scaled[:, i, j] * torch.sigmoid(value)
        torch.testing.assert_close(gates(maps), slow)


def test_spatial_gates_start_at_one_half() -> None:
    torch.manual_seed(0)
    network = cbam_resnet.build(1, base=4)
    gates = [module for module in network.modules() if isinstance(module, cbam_resnet.SpatialGate)]
    assert len(gates) == 8
    maps = torch.randn(2, 4, 6, 6)
    for gate in gates:
        torch.testing.assert_close(gate(maps), maps / 2)
    biases = [value for name, value in network.named_parameters() if name.endswith("bias")]
    assert all(bool((bias == 0).all()) for bias in biases)


def test_sizes_channels_and_plain_blocks() -> None:
    torch.manual_seed(0)
    for attention in (True, False):
        network = cbam_resnet.build(3, attention, base=4, reduction=2)
        assert sum(isinstance(module, Basic) for module in network.modules()) == 8
        assert any(isinstance(module, Attention) for module in network.modules()) == attention
        assert network(torch.randn(2, 3, 64, 64)).shape == (2, 32)
    grey = cbam_resnet.build(1, base=4)
    assert grey.stages(cbam_resnet.max_pool(grey.stem(torch.randn(1, 1, 224, 224)))).shape == (1, 32, 7, 7)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 7), (8, 8), (9, 12)])
def test_pooling_and_its_gradient(size) -> None:
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, gradients = None, []
    for pool in (cbam_resnet.max_pool, nn.MaxPool2d(3, stride=2, padding=1)):
        before = maps.clone().requires_grad_()
        found = pool(torch.relu(before))
        weights = torch.randn(found.shape, dtype=torch.float64) if weights is None else weights
        (found * weights).sum().backward()
        gradients.append((found.detach(), before.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "part"), [({"reduction": 0}, "reduction"), ({"depth": 34}, "no such option"), ({"base": 0}, "base")]
)
def test_wrong_options(options, part) -> None:
    with pytest.raises(ReproodError, match=part):
        cbam_resnet.build(3, **options)


def test_heads_start_from_kaimings_normal_distribution() -> None:
    """Of the class layer and of the layer of transformations: N(0, 2 / 512), bias 0, as in the authors' code."""
    backbone = cbam_resnet.build(3)
    one_class = TransformationHeads(backbone, 10, 1).heads
    for head in (Classifier(backbone, 10).head, one_class):
        weight = head.weight.detach()
        assert float(weight.std()) == pytest.approx((2 / 512) ** 0.5, rel=0.05)
        assert float(weight.abs().max()) > 2 * (2 / 512) ** 0.5  # not uniform
        assert not head.bias.any()
