"""DenseNet-BC for small images (Huang et al. 2017) as in the code around Generalized ODIN: DenseNet-BC-100-12."""

from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import conv1x1, conv3x3, global_pool, init_fan_out
from reprood.nets.options import Options, read_options


class DenseNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : int
        6n + 4: n bottleneck layers in each of three dense blocks.
    growth : int
        Channels that each layer adds; the stem has twice as many, a bottleneck four times as many.
    init_std : float or None
        Standard deviation of the start of every convolution; None: sqrt(2 / (k * k * outputs)). CnC's code has
        sqrt(2 / 16) = 0.35355 everywhere, because it divides by the number of layers of a block.
    """

    depth: int = 100
    growth: int = Field(default=12, ge=1)
    init_std: float | None = Field(default=None, gt=0)

    @field_validator("depth")
    @classmethod
    def _depth(cls, depth: int) -> int:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"{depth} is not of the form 6n + 4 with n >= 1 (40, 100, 190, ...)")
        return depth


class Layer(nn.Module):
    """BN-ReLU-1x1-BN-ReLU-3x3; its `growth` maps are appended to its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv1x1(inputs, 4 * growth)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = conv3x3(4 * growth, growth)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, inputs + growth, H, W]."""
        inner = self.conv1(torch.relu_(self.norm1(maps)))
        inner = self.conv2(torch.relu_(self.norm2(inner)))
        return torch.cat((maps, inner), dim=1)


class Transition(nn.Module):
    """BN-ReLU-1x1 convolution to half the channels (rounded down), 2 x 2 average pooling."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv1x1(inputs, inputs // 2)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, inputs // 2, H // 2, W // 2]."""
        return functional.avg_pool2d(self.conv(torch.relu_(self.norm(maps))), 2)


class DenseNet(nn.Module):
    """DenseNet-BC without its classifier: images [B, C, H, W] to features [B, width]."""

    zero_head_bias = True

    def __init__(self, channels: int, options: DenseNetOptions) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 2 * options.growth
        self.stem = conv3x3(channels, inputs)
        for block in range(3):
            if block > 0:
                layers.append(Transition(inputs))
                inputs //= 2
            for _ in range((options.depth - 4) // 6):
                layers.append(Layer(inputs, options.growth))
                inputs += options.growth
        self.layers = nn.Sequential(*layers)
        self.width = inputs
        self.norm = nn.BatchNorm2d(inputs)
        init_fan_out(self)
        if options.init_std is not None:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight, 0.0, options.init_std)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, h, w], whose means over positions are the features."""
        return torch.relu_(self.norm(self.layers(self.stem(images))))

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images."""
        return global_pool(self.maps(images))


def build(channels: int, **options: Any) -> DenseNet:
    """Build a DenseNet-BC for images of `channels` channels; options as in `DenseNetOptions`."""
    return DenseNet(channels, read_options(DenseNetOptions, "densenet", channels, options))
