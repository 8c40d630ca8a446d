"""ResNet-18 with the 7 x 7 stem of large images, its blocks with self-attention (CBAM) or without.

The network for one class of ImageNet in Hendrycks et al. 2019, "Using Self-Supervised Learning Can Improve Model
Robustness and Uncertainty". CBAM: S. Woo, J. Park, J.-Y. Lee, I. S. Kweon: CBAM: Convolutional Block Attention Module,
ECCV 2018, arXiv 1807.06521; section numbers below are that paper's, details of form and initialisation its code's.
With a linear head of 10 outputs and 3 channels it has 11,271,522 parameters (11,181,642 without attention).
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import global_pool, init_fan_out
from reprood.nets.options import Options, read_options
from reprood.nets.resnet import Basic

BLOCKS = (2, 2, 2, 2)


class CbamResNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    attention : bool
        A CBAM module in every block, after its second batch norm and before the sum.
    reduction : int
        The channel gate's hidden layer has 1 / `reduction` of the channels (at least one).
    base : int
        Channels of the first stage, doubled at every further one.
    """

    attention: bool = True
    reduction: int = Field(default=16, ge=1)
    base: int = Field(default=64, ge=1)


class ChannelGate(nn.Module):
    """Scale every channel by sigmoid(mlp(mean over positions) + mlp(maximum over positions)); section 3.1."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        gate = torch.sigmoid(self.mlp(maps.mean(dim=(2, 3))) + self.mlp(maps.amax(dim=(2, 3))))
        outcome: Tensor = maps * gate[:, :, None, None]
        return outcome


class SpatialGate(nn.Module):
    """Scale every position by sigmoid(BN(conv 7 x 7 of the maximum and the mean over channels)); section 3.2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        pooled = torch.stack((maps.amax(dim=1), maps.mean(dim=1)), dim=1)
        outcome: Tensor = maps * torch.sigmoid(self.norm(self.conv(pooled)))
        return outcome


class Attention(nn.Module):
    """CBAM: the channel gate, then the spatial gate."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, reduction)
        self.spatial = SpatialGate()

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        outcome: Tensor = self.spatial(self.channel(maps))
        return outcome


class AttentiveBasic(Basic):
    """conv-BN-ReLU-conv-BN-CBAM, plus the shortcut, ReLU."""

    def __init__(self, inputs: int, channels: int, stride: int, reduction: int = 16) -> None:
        super().__init__(inputs, channels, stride)
        self.attention = Attention(channels, reduction)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, channels, H / stride, W / stride]."""
        inner = torch.relu_(self.norm1(self.conv1(maps)))
        inner = self.attention(self.norm2(self.conv2(inner)))
        return torch.relu_(inner + (maps if self.shortcut is None else self.shortcut(maps)))


def max_pool(maps: Tensor) -> Tensor:
    """Return the maximum over 3 x 3 windows, stride 2, padding 1, of maps [B, C, H, W] that are not negative.

    Written with slices, because the gradient of the usual pooling is summed in no fixed order on GPUs.
    """
    padded = functional.pad(maps, (1, 1, 1, 1))
    tall = torch.maximum(torch.maximum(padded[:, :, :-2:2], padded[:, :, 1:-1:2]), padded[:, :, 2::2])
    return torch.maximum(torch.maximum(tall[..., :-2:2], tall[..., 1:-1:2]), tall[..., 2::2])


class CbamResNet(nn.Module):
    """ResNet-18 without its classifier: images [B, C, H, W] to features [B, width], the maps 1/32 of the side.

    Convolutions start from N(0, 2 / (k * k * outputs)), batch norms from 1 and 0, all biases from 0; except that the
    spatial gates' batch norm starts from 0 and 0, so that every gate is one half before training.
    """

    zero_head_bias = True
    kaiming_head = True

    def __init__(self, channels: int, options: CbamResNetOptions) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, options.base, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(options.base)
        stages = []
        inputs = options.base
        for stage, count in enumerate(BLOCKS):
            layers: list[nn.Module] = []
            for index in range(count):
                outputs, stride = options.base * 2**stage, 2 if stage > 0 and index == 0 else 1
                if options.attention:
                    layers.append(AttentiveBasic(inputs, outputs, stride, options.reduction))
                else:
                    layers.append(Basic(inputs, outputs, stride))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.width = inputs
        init_fan_out(self)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            elif isinstance(module, SpatialGate):
                nn.init.zeros_(module.norm.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images."""
        return global_pool(self.stages(max_pool(torch.relu_(self.norm(self.stem(images))))))


def build(channels: int, attention: bool = True, **options: Any) -> CbamResNet:
    """Build a ResNet-18 for images of `channels` channels; further options as in `CbamResNetOptions`."""
    options = {"attention": attention, **options}
    return CbamResNet(channels, read_options(CbamResNetOptions, "cbam_resnet", channels, options))
