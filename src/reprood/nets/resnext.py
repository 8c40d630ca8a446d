"""ResNeXts for large images: torchvision's ResNets with grouped convolutions (Xie et al. 2017, arXiv 1611.05431).

torchvision has names for some of them only; the 101-layer network with 32 groups of 4 channels is not among them.
"""

from typing import Any, Literal

from pydantic import Field

from reprood.nets import torchvision
from reprood.nets.options import Options, read_options
from reprood.nets.torchvision import TorchvisionBackbone


class ResNeXtOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : {50, 101, 152}
    groups : int
        Groups of the 3 x 3 convolutions ("cardinality").
    width : int
        Channels of a group in the first stage, doubled at every further one.
    """

    depth: Literal[50, 101, 152] = 101
    groups: int = Field(default=32, ge=1)
    width: int = Field(default=4, ge=1)


def build(channels: int, **options: Any) -> TorchvisionBackbone:
    """Build a ResNeXt for images of `channels` channels; options as in `ResNeXtOptions`."""
    chosen = read_options(ResNeXtOptions, "resnext", channels, options)
    arguments = {"groups": chosen.groups, "width_per_group": chosen.width}
    return torchvision.build(channels, model=f"resnet{chosen.depth}", arguments=arguments)
