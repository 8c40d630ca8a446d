"""Wide residual networks (Zagoruyko and Komodakis 2016) in the form of the Outlier Exposure and HOOD code.

Pre-activation blocks; where the shape changes, the 1 x 1 shortcut takes the block's activated input. The networks
`wide` and `wrn_leaky` are this one with another block.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import conv1x1, conv3x3, global_pool, init_fan_out
from reprood.nets.options import Options, read_options

STEM = 16  # channels after the first convolution
STAGES = (16, 32, 64)  # channels of the three stages at widening factor 1


class SizeOptions(Options):
    """Depth and width of a wide residual network.

    Attributes
    ----------
    depth : int
        6n + 4: n blocks in each of three stages (10, 16, 22, 28, 40, ...).
    width : float
        Widening factor k: stages of 16k, 32k, 64k channels; a fraction such as 0.5 is allowed.
    """

    depth: int = 28
    width: float = Field(default=10, gt=0, le=32)

    @field_validator("depth")
    @classmethod
    def _depth(cls, depth: int) -> int:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"{depth} is not of the form 6n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...)")
        return depth

    def widths(self, least: int = 1) -> list[int]:
        """Return the number of channels of each stage, at least `least`."""
        return [max(least, round(base * self.width)) for base in STAGES]


class WideResNetOptions(SizeOptions):
    """Options of `build`.

    Attributes
    ----------
    dropout : float
        Between the two convolutions of a block (0.3 in Outlier Exposure).
    stem_stride : {1, 2}
        2 quarters the cost for small CPU runs; the papers use 1.
    """

    depth: int = 40
    width: float = Field(default=2, gt=0, le=32)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    stem_stride: Literal[1, 2] = 1


class Block(nn.Module):
    """BN-ReLU-conv-BN-ReLU-(dropout)-conv, plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.dropout = dropout
        self.shortcut = None if inputs == outputs and stride == 1 else conv1x1(inputs, outputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        active = torch.relu_(self.norm1(maps))
        inner = torch.relu_(self.norm2(self.conv1(active)))
        if self.dropout > 0:
            inner = functional.dropout(inner, self.dropout, self.training)
        shortcut = maps if self.shortcut is None else self.shortcut(active)
        outcome: Tensor = self.conv2(inner) + shortcut
        return outcome


class WideResNet(nn.Module):
    """A wide residual network without its classifier: images [B, C, H, W] to features [B, width].

    Parameters
    ----------
    stem : nn.Module
        First convolution, to 16 channels.
    block : callable
        (input channels, output channels, stride) to a block.
    depth : int
        6n + 4.
    widths : list of int
        Channels of each stage.
    slope : float
        Negative slope of the last activation; 0 is the ReLU.
    zero_head_bias : bool
        Whether the classifier's bias starts at 0 (see `reprood.nets.classifier`).
    """

    def __init__(
        self,
        stem: nn.Module,
        block: Callable[[int, int, int], nn.Module],
        depth: int,
        widths: list[int],
        *,
        slope: float = 0.0,
        zero_head_bias: bool = True,
    ) -> None:
        super().__init__()
        self.zero_head_bias = zero_head_bias
        self.slope = slope
        self.width = widths[-1]
        self.stem = stem
        stages = []
        inputs = STEM
        for stage, outputs in enumerate(widths):
            blocks = []
            for index in range((depth - 4) // 6):
                blocks.append(block(inputs, outputs, 2 if stage > 0 and index == 0 else 1))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(self.width)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, h, w], whose means over positions are the features."""
        maps = self.norm(self.stages(self.stem(images)))
        return functional.leaky_relu_(maps, self.slope) if self.slope else torch.relu_(maps)

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images."""
        return global_pool(self.maps(images))


def build(channels: int, **options: Any) -> WideResNet:
    """Build the network for images of `channels` channels; options as in `WideResNetOptions`."""
    chosen = read_options(WideResNetOptions, "wrn", channels, options)

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return Block(inputs, outputs, stride, chosen.dropout)

    network = WideResNet(conv3x3(channels, STEM, chosen.stem_stride), block, chosen.depth, chosen.widths())
    init_fan_out(network)
    return network
