"""ResNet for small images whose features keep a grid of positions: CnC's network for Tiny ImageNet.

The published code pools the last maps to 2 x 2 positions, so that ResNet-50 has 8,192 features; with a linear head of
201 outputs and 3 channels it has 25,147,145 parameters. Everything else is as in `resnet` with four stages.
"""

from typing import Any

from pydantic import Field, field_validator
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.nets.options import read_options
from reprood.nets.resnet import ResNet, ResNetOptions


class ResNetGridOptions(ResNetOptions):
    """Options of `build`: those of `resnet` with four stages, and the grid.

    Attributes
    ----------
    grid : int
        Positions along each side for which features are kept.
    """

    depth: int = 50
    grid: int = Field(default=2, ge=1)

    @field_validator("stages")
    @classmethod
    def _four(cls, stages: int) -> int:
        if stages != 4:
            raise ValueError("this network has four stages")
        return stages


class ResNetGrid(nn.Module):
    """A ResNet without its classifier: images [B, C, H, H] to features [B, width], means over the cells of a grid.

    The features are not the means of whole maps, so that there are no class activation maps.
    """

    def __init__(self, channels: int, options: ResNetGridOptions) -> None:
        super().__init__()
        self.body = ResNet(channels, options)
        self.grid = options.grid
        self.width = self.body.width * options.grid**2

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images: channel by channel, each with its cells in rows.

        Raises
        ------
        ReproodError
            If the last maps cannot be divided into the grid.
        """
        maps = self.body.maps(images)
        batch, channels, height, width = maps.shape
        if height % self.grid or width % self.grid:
            raise ReproodError(
                f"Network 'resnet_grid': its last maps of {height} x {width} positions cannot be divided into a grid "
                f"of {self.grid} x {self.grid}; change the image size or 'grid'."
            )
        cells = maps.view(batch, channels, self.grid, height // self.grid, self.grid, width // self.grid)
        return cells.mean(dim=(3, 5)).flatten(1)


def build(channels: int, **options: Any) -> ResNetGrid:
    """Build a residual network for images of `channels` channels; options as in `ResNetGridOptions`."""
    return ResNetGrid(channels, read_options(ResNetGridOptions, "resnet_grid", channels, options))
