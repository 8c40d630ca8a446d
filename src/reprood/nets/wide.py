"""Wide residual networks in the form of ReSmooth's code: WRN-28-10 with 36,489,290 parameters for 10 classes.

They differ from `wrn` in that every convolution has a bias, the stride is in a block's second convolution, the 1 x 1
shortcut takes the block's raw input, and the framework's initialisation stays.
"""

from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import global_pool
from reprood.nets.options import Options, read_options


class WideOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : int
        6n + 4: n blocks in each of three stages.
    width : float
        Widening factor k: stages of 16k, 32k, 64k channels.
    dropout : float
        Between the two convolutions of a block; the paper's commands use 0.
    """

    depth: int = 28
    width: float = Field(default=10, gt=0, le=32)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("depth")
    @classmethod
    def _depth(cls, depth: int) -> int:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"{depth} is not of the form 6n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...)")
        return depth


class Block(nn.Module):
    """BN-ReLU-conv-(dropout)-BN-ReLU-conv (with the stride), plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.dropout = dropout
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1)
        self.shortcut = None if inputs == outputs and stride == 1 else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        inner = self.conv1(torch.relu_(self.norm1(maps)))
        if self.dropout > 0:
            inner = functional.dropout(inner, self.dropout, self.training)
        outcome: Tensor = self.conv2(torch.relu_(self.norm2(inner)))
        return outcome + (maps if self.shortcut is None else self.shortcut(maps))


class WideResNet(nn.Module):
    """WRN-depth-width without its classifier: images [B, C, H, W] to features [B, width]."""

    zero_head_bias = False

    def __init__(self, channels: int, options: WideOptions) -> None:
        super().__init__()
        blocks = (options.depth - 4) // 6
        widths = [max(1, round(base * options.width)) for base in (16, 32, 64)]
        self.width = widths[-1]
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        stages = []
        inputs = 16
        for stage, outputs in enumerate(widths):
            layers = []
            for index in range(blocks):
                layers.append(Block(inputs, outputs, 2 if stage > 0 and index == 0 else 1, options.dropout))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(self.width)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, width] of normalised images."""
        return global_pool(torch.relu_(self.norm(self.stages(self.stem(images)))))


def build(channels: int, **options: Any) -> WideResNet:
    """A wide residual network for images of `channels` channels; options as in `WideOptions`."""
    return WideResNet(channels, read_options(WideOptions, "wide", channels, options))
