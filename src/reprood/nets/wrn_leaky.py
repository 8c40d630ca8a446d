"""Wide residual networks in the form of the adversarial training code of Madry et al. (2018), as in BiaMAT.

They differ from `wrn` in the leaky ReLU (slope 0.1), in shortcuts without weights (average pooling, then zero channels
on both sides), and in where the shortcut starts: only the very first unit's takes the activated maps. Convolutions are
padded as TensorFlow does ('same'): with stride 2 and an even side nothing before and one row and column after.
"""

from typing import Any, Literal

from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import global_pool, init_fan_out
from reprood.nets.options import Options, read_options

SLOPE = 0.1


class WideLeakyOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : int
        6n + 4: n units in each of three stages; 28 in the code.
    width : float
        Widening factor k: stages of 16k, 32k, 64k channels.
    stem_stride : {1, 2}
        2 quarters the cost for small CPU runs; the papers use 1.
    """

    depth: int = 28
    width: float = Field(default=10, gt=0, le=32)
    stem_stride: Literal[1, 2] = 1

    @field_validator("depth")
    @classmethod
    def _depth(cls, depth: int) -> int:
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"{depth} is not of the form 6n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...)")
        return depth


class SameConv3x3(nn.Conv2d):
    """3 x 3 convolution without bias, padded as TensorFlow's 'same': a side H becomes ceil(H / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Maps to maps."""
        height, width = input.shape[2:]
        if self.stride[0] == 1 or (height % 2 and width % 2):
            return super().forward(input)
        sides = (1 - width % 2, 1 - height % 2)  # of an even side nothing is padded before
        padded = functional.pad(input, (1 - sides[0], 1, 1 - sides[1], 1))
        return functional.conv2d(padded, self.weight, stride=self.stride)


class Unit(nn.Module):
    """BN-leaky ReLU-conv-BN-leaky ReLU-conv, plus a shortcut without weights.

    `activated` says that the shortcut takes the maps after the first activation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activated: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = SameConv3x3(inputs, outputs, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = SameConv3x3(outputs, outputs)
        self.stride, self.activated = stride, activated
        before = (outputs - inputs) // 2
        self.channels = (before, outputs - inputs - before)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        active = functional.leaky_relu_(self.norm1(maps), SLOPE)
        shortcut = active if self.activated else maps
        if self.stride > 1:
            shortcut = functional.avg_pool2d(shortcut, self.stride, self.stride, ceil_mode=True)
        if any(self.channels):
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, *self.channels))
        inner = functional.leaky_relu_(self.norm2(self.conv1(active)), SLOPE)
        outcome: Tensor = self.conv2(inner) + shortcut
        return outcome


class WideLeaky(nn.Module):
    """The network without its classifier: images [B, C, H, W] to features [B, width]."""

    zero_head_bias = True

    def __init__(self, channels: int, options: WideLeakyOptions) -> None:
        super().__init__()
        units = (options.depth - 4) // 6
        widths = [max(16, round(base * options.width)) for base in (16, 32, 64)]
        self.width = widths[-1]
        self.stem = SameConv3x3(channels, 16, options.stem_stride)
        stages = []
        inputs = 16
        for stage, outputs in enumerate(widths):
            layers = []
            for index in range(units):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(Unit(inputs, outputs, stride, activated=stage == 0 and index == 0))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(self.width)
        init_fan_out(self)

    def maps(self, images: Tensor) -> Tensor:
        """Last maps [B, width, h, w], whose mean over positions are the features."""
        return functional.leaky_relu_(self.norm(self.stages(self.stem(images))), SLOPE)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, width] of images."""
        return global_pool(self.maps(images))


def build(channels: int, **options: Any) -> WideLeaky:
    """A wide residual network for images of `channels` channels; options as in `WideLeakyOptions`."""
    return WideLeaky(channels, read_options(WideLeakyOptions, "wrn_leaky", channels, options))
