"""Wide residual networks in the form of the adversarial training code of Madry et al. (2018), as in BiaMAT.

They differ from `wrn` in the leaky ReLU (slope 0.1), in shortcuts without weights (average pooling, then zero channels
on both sides), and in where the shortcut starts: only that of the very first block takes the activated maps.
Convolutions are padded like TensorFlow's 'same': with stride 2 and an even side nothing before and one row and column
after.
"""

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import init_fan_out
from reprood.nets.options import read_options
from reprood.nets.wrn import STEM, SizeOptions, WideResNet

SLOPE = 0.1


class WideLeakyOptions(SizeOptions):
    """Options of `build`.

    Attributes
    ----------
    stem_stride : {1, 2}
        2 quarters the cost for small CPU runs; the papers use 1.
    """

    stem_stride: Literal[1, 2] = 1


class SameConv3x3(nn.Conv2d):
    """3 x 3 convolution without bias, padded like TensorFlow's 'same': a side H becomes ceil(H / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        height, width = input.shape[2:]
        if self.stride[0] == 1 or (height % 2 and width % 2):
            return super().forward(input)
        before = (width % 2, height % 2)  # an even side is not padded before
        padded = functional.pad(input, (before[0], 1, before[1], 1))
        return functional.conv2d(padded, self.weight, stride=self.stride)


class Block(nn.Module):
    """BN-leaky ReLU-conv-BN-leaky ReLU-conv, plus a shortcut without weights.

    With `activated` the shortcut takes the maps after the first activation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activated: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = SameConv3x3(inputs, outputs, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = SameConv3x3(outputs, outputs)
        self.stride, self.activated = stride, activated
        before = (outputs - inputs) // 2
        self.channels = (before, outputs - inputs - before)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        active = functional.leaky_relu_(self.norm1(maps), SLOPE)
        shortcut = active if self.activated else maps
        if self.stride > 1:
            shortcut = functional.avg_pool2d(shortcut, self.stride, self.stride, ceil_mode=True)
        if any(self.channels):
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, *self.channels))
        inner = functional.leaky_relu_(self.norm2(self.conv1(active)), SLOPE)
        outcome: Tensor = self.conv2(inner) + shortcut
        return outcome


def build(channels: int, **options: Any) -> WideResNet:
    """Build the network for images of `channels` channels; options as in `WideLeakyOptions`."""
    chosen = read_options(WideLeakyOptions, "wrn_leaky", channels, options)
    widths = chosen.widths(least=STEM)  # the shortcut can add channels but not drop them
    stem = SameConv3x3(channels, STEM, chosen.stem_stride)
    network = WideResNet(stem, Block, chosen.depth, widths, slope=SLOPE)
    next(module for module in network.modules() if isinstance(module, Block)).activated = True
    init_fan_out(network)
    return network
