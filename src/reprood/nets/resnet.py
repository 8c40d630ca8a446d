"""Post-activation residual networks for small images, with a 3 x 3 stem and no max-pooling.

Four stages: ResNet-18/34/50 with 64-512 channels (CSI, Generalized ODIN, CnC, ReSmooth).
Three stages: the 6n+2 (basic) and 9n+2 (bottleneck) networks with 16-64 channels (He et al. 2016, in CutMix's code).
"""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from reprood.nets.layers import conv1x1, conv3x3, global_pool, init_fan_out
from reprood.nets.options import Options, read_options

FOUR_STAGES = {
    10: ("basic", (1, 1, 1, 1)),
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
}


class ResNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : int
        Four stages: 10, 18, 34 or 50. Three stages: 6n + 2 with basic blocks, 9n + 2 with bottlenecks.
    stages : {4, 3}
        Which of the two families.
    block : {"basic", "bottleneck"} or None
        Three stages only (None means basic); with four stages the depth decides.
    base : int or None
        Channels of the first stage, doubled at every further one; None means 64 (four stages) or 16 (three).
    init : {"default", "fan_out"} or None
        Start of the convolutions: PyTorch's, as in the code of CSI, CnC and Generalized ODIN, or N(0, 2 / (k * k *
        outputs)). With four stages the latter leaves the stem out: ReSmooth's code takes torchvision's ResNet-18, which
        starts so, and replaces its stem. None means "default" with four stages and "fan_out" with three (CutMix).
    """

    depth: int = 18
    stages: Literal[4, 3] = 4
    block: Literal["basic", "bottleneck"] | None = None
    base: int | None = Field(default=None, ge=1)
    init: Literal["default", "fan_out"] | None = None

    @model_validator(mode="after")
    def _depth(self) -> "ResNetOptions":
        if self.stages == 4:
            if self.depth not in FOUR_STAGES:
                raise ValueError(
                    f"a ResNet of 4 stages has depth {', '.join(map(str, FOUR_STAGES))}, not {self.depth}; "
                    "with stages: 3 the depth is 6n + 2 (basic) or 9n + 2 (bottleneck)"
                )
            if self.block not in (None, FOUR_STAGES[self.depth][0]):
                raise ValueError(f"ResNet-{self.depth} of 4 stages has {FOUR_STAGES[self.depth][0]} blocks")
            return self
        per_block = 9 if self.block == "bottleneck" else 6
        if self.depth < per_block + 2 or (self.depth - 2) % per_block:
            kind = self.block or "basic"
            raise ValueError(f"depth {self.depth} of a 3-stage {kind} ResNet is not of the form {per_block}n + 2")
        return self

    def plan(self) -> tuple[str, tuple[int, ...], int]:
        """Return the kind of block, the blocks of each stage, and the channels of the first stage."""
        if self.stages == 4:
            kind, blocks = FOUR_STAGES[self.depth]
            return kind, blocks, self.base or 64
        kind = self.block or "basic"
        return kind, ((self.depth - 2) // (9 if kind == "bottleneck" else 6),) * 3, self.base or 16


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class Basic(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the shortcut, ReLU."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, channels, stride)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(inputs, channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, channels, H / stride, W / stride]."""
        inner = torch.relu_(self.norm1(self.conv1(maps)))
        inner = self.norm2(self.conv2(inner))
        return torch.relu_(inner + (maps if self.shortcut is None else self.shortcut(maps)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolution to 4 x the channels, plus the shortcut, ReLU."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv1x1(inputs, channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, channels * self.expansion)
        self.norm3 = nn.BatchNorm2d(channels * self.expansion)
        self.shortcut = _shortcut(inputs, channels * self.expansion, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, 4 * channels, H / stride, W / stride]."""
        inner = torch.relu_(self.norm1(self.conv1(maps)))
        inner = torch.relu_(self.norm2(self.conv2(inner)))
        inner = self.norm3(self.conv3(inner))
        return torch.relu_(inner + (maps if self.shortcut is None else self.shortcut(maps)))


class ResNet(nn.Module):
    """A ResNet without its classifier: images [B, C, H, W] to features [B, width]."""

    zero_head_bias = False

    def __init__(self, channels: int, options: ResNetOptions) -> None:
        super().__init__()
        kind, counts, base = options.plan()
        block: type[Basic] | type[Bottleneck] = Bottleneck if kind == "bottleneck" else Basic
        self.stem = conv3x3(channels, base)
        self.norm = nn.BatchNorm2d(base)
        stages = []
        inputs = base
        for stage, count in enumerate(counts):
            layers = []
            for index in range(count):
                layers.append(block(inputs, base * 2**stage, 2 if stage > 0 and index == 0 else 1))
                inputs = base * 2**stage * block.expansion
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.width = inputs
        if (options.init or ("fan_out" if options.stages == 3 else "default")) == "fan_out":
            init_fan_out(self if options.stages == 3 else self.stages)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, h, w], whose means over positions are the features."""
        maps: Tensor = self.stages(torch.relu_(self.norm(self.stem(images))))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images."""
        return global_pool(self.maps(images))


def build(channels: int, **options: Any) -> ResNet:
    """Build a residual network for images of `channels` channels; options as in `ResNetOptions`."""
    return ResNet(channels, read_options(ResNetOptions, "resnet", channels, options))
