"""PyramidNet for small images (Han et al. 2017) as in CutMix's code: every block is a little wider than the last."""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import conv1x1, conv3x3, global_pool, init_fan_out
from reprood.nets.options import Options, read_options

STEM = 16


class PyramidNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : int
        9n + 2 with bottlenecks, 6n + 2 with basic blocks; n blocks in each of three stages.
    widening : float
        By how much the width grows over all blocks (240 in CutMix's main table).
    block : {"bottleneck", "basic"}
        Kind of block.
    """

    depth: int = 200
    widening: float = Field(default=240.0, ge=0)
    block: Literal["bottleneck", "basic"] = "bottleneck"

    @model_validator(mode="after")
    def _depth(self) -> "PyramidNetOptions":
        per_block = 9 if self.block == "bottleneck" else 6
        if self.depth < per_block + 2 or (self.depth - 2) % per_block:
            raise ValueError(f"depth {self.depth} with {self.block} blocks is not of the form {per_block}n + 2")
        return self

    @property
    def expansion(self) -> int:
        """Output channels of a block as a multiple of its width."""
        return 4 if self.block == "bottleneck" else 1

    def plan(self) -> list[tuple[int, int]]:
        """Return (input channels, width) of every block in order.

        The width grows by widening / (3n) per block in floating point and is rounded half to even, as by `round`.
        """
        total = 3 * ((self.depth - 2) // (9 if self.block == "bottleneck" else 6))
        counter, inputs, blocks = float(STEM), STEM, []
        for _ in range(total):
            counter += self.widening / total
            blocks.append((inputs, round(counter)))
            inputs = round(counter) * self.expansion
        return blocks


class Block(nn.Module):
    """BN-conv-BN-ReLU-conv-BN, or with bottleneck BN-1x1-BN-ReLU-3x3-BN-ReLU-1x1-BN, plus the shortcut.

    The shortcut has no parameters: 2 x 2 average pooling where the stride is 2, and zero channels at the end.
    """

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            convolutions = [conv1x1(inputs, width), conv3x3(width, width, stride), conv1x1(width, width * 4)]
        else:
            convolutions = [conv3x3(inputs, width, stride), conv3x3(width, width)]
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(inputs), *(nn.BatchNorm2d(convolution.out_channels) for convolution in convolutions)]
        )
        self.stride = stride
        self.extra = convolutions[-1].out_channels - inputs

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, inputs + extra, H / stride, W / stride]."""
        inner: Tensor = self.convolutions[0](self.norms[0](maps))
        for convolution, norm in zip(self.convolutions[1:], self.norms[1:-1], strict=True):
            inner = convolution(torch.relu_(norm(inner)))
        inner = self.norms[-1](inner)
        shortcut = maps if self.stride == 1 else functional.avg_pool2d(maps, 2, stride=2, ceil_mode=True)
        return inner + functional.pad(shortcut, (0, 0, 0, 0, 0, self.extra))


class PyramidNet(nn.Module):
    """PyramidNet without its classifier: images [B, C, H, W] to features [B, width]."""

    zero_head_bias = False

    def __init__(self, channels: int, options: PyramidNetOptions) -> None:
        super().__init__()
        plan = options.plan()
        per_stage = len(plan) // 3
        self.width = plan[-1][1] * options.expansion
        self.stem = conv3x3(channels, STEM)
        self.stem_norm = nn.BatchNorm2d(STEM)
        self.blocks = nn.Sequential(
            *(
                Block(inputs, width, 2 if index in (per_stage, 2 * per_stage) else 1, options.block == "bottleneck")
                for index, (inputs, width) in enumerate(plan)
            )
        )
        self.norm = nn.BatchNorm2d(self.width)
        init_fan_out(self)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, h, w], whose means over positions are the features."""
        maps = self.blocks(self.stem_norm(self.stem(images)))  # no ReLU after the stem
        return torch.relu_(self.norm(maps))

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images."""
        return global_pool(self.maps(images))


def build(channels: int, **options: Any) -> PyramidNet:
    """Build a PyramidNet for images of `channels` channels; options as in `PyramidNetOptions`."""
    return PyramidNet(channels, read_options(PyramidNetOptions, "pyramidnet", channels, options))
