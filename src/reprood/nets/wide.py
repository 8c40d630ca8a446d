"""Wide residual networks in the form of ReSmooth's code: WRN-28-10 with 36,489,290 parameters for 10 classes.

They differ from `wrn` in that every convolution has a bias, the stride is in a block's second convolution, dropout
comes before the second batch norm, the 1 x 1 shortcut takes the block's raw input, and PyTorch's initialisation is
kept.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import conv1x1
from reprood.nets.options import read_options
from reprood.nets.wrn import STEM, SizeOptions, WideResNet


class WideOptions(SizeOptions):
    """Options of `build`.

    Attributes
    ----------
    dropout : float
        Between the two convolutions of a block; the paper's commands use 0.
    """

    dropout: float = Field(default=0.0, ge=0, lt=1)


class Block(nn.Module):
    """BN-ReLU-conv-(dropout)-BN-ReLU-conv (with the stride), plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.dropout = dropout
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1)
        self.shortcut = None if inputs == outputs and stride == 1 else conv1x1(inputs, outputs, stride, bias=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        inner = self.conv1(torch.relu_(self.norm1(maps)))
        if self.dropout > 0:
            inner = functional.dropout(inner, self.dropout, self.training)
        outcome: Tensor = self.conv2(torch.relu_(self.norm2(inner)))
        return outcome + (maps if self.shortcut is None else self.shortcut(maps))


def build(channels: int, **options: Any) -> WideResNet:
    """Build the network for images of `channels` channels; options as in `WideOptions`."""
    chosen = read_options(WideOptions, "wide", channels, options)

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return Block(inputs, outputs, stride, chosen.dropout)

    stem = nn.Conv2d(channels, STEM, 3, padding=1)
    return WideResNet(stem, block, chosen.depth, chosen.widths(), zero_head_bias=False)
