"""Wide residual networks (Zagoruyko and Komodakis 2016) in the form of the Outlier Exposure and HOOD code.

Pre-activation blocks; where the shape changes, the 1 x 1 shortcut takes the block's activated input.
"""

from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import conv1x1, conv3x3, global_pool, init_fan_out
from reprood.nets.options import Options, read_options


class WideResNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : int
        6n + 4: n blocks in each of three stages (10, 16, 22, 28, 40, ...).
    width : float
        Widening factor k: stages of 16k, 32k, 64k channels; a fraction such as 0.5 is allowed.
    dropout : float
        Between the two convolutions of a block (0.3 in Outlier Exposure).
    stem_stride : {1, 2}
        2 quarters the cost for small CPU runs; the papers use 1.
    """

    depth: int = 40
    width: float = Field(default=2, gt=0, le=32)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    stem_stride: Literal[1, 2] = 1

    @field_validator("depth")
    @classmethod
    def _depth(cls, depth: int) -> int:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"{depth} is not of the form 6n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...)")
        return depth


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
        """Maps [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        active = torch.relu_(self.norm1(maps))
        inner = torch.relu_(self.norm2(self.conv1(active)))
        if self.dropout > 0:
            inner = functional.dropout(inner, self.dropout, self.training)
        shortcut = maps if self.shortcut is None else self.shortcut(active)
        outcome: Tensor = self.conv2(inner) + shortcut
        return outcome


class WideResNet(nn.Module):
    """WRN-depth-width without its classifier: images [B, C, H, W] to features [B, width]."""

    zero_head_bias = True

    def __init__(self, channels: int, options: WideResNetOptions) -> None:
        super().__init__()
        blocks = (options.depth - 4) // 6
        widths = [max(1, round(base * options.width)) for base in (16, 32, 64)]
        self.width = widths[-1]
        self.stem = conv3x3(channels, 16, options.stem_stride)
        stages = []
        inputs = 16
        for stage, outputs in enumerate(widths):
            layers = []
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(Block(inputs, outputs, stride, options.dropout))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(self.width)
        init_fan_out(self)

    def maps(self, images: Tensor) -> Tensor:
        """Last maps [B, width, h, w], whose mean over positions are the features."""
        return torch.relu_(self.norm(self.stages(self.stem(images))))

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, width] of normalised images."""
        return global_pool(self.maps(images))


def build(channels: int, **options: Any) -> WideResNet:
    """A wide residual network for images of `channels` channels; options as in `WideResNetOptions`."""
    return WideResNet(channels, read_options(WideResNetOptions, "wrn", channels, options))
