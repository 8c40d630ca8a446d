"""ResNets for large images in their usual form: 7 x 7 stem with stride 2, max-pooling, four stages (He et al. 2016).

The network of CutPaste at 256 x 256. torchvision's ImageNet weights fit (`reprood.nets.imagenet_weights`).
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.nets.cbam_resnet import max_pool
from reprood.nets.layers import global_pool, init_fan_out
from reprood.nets.options import Options, read_options
from reprood.nets.resnet import FOUR_STAGES, Basic, Bottleneck

# Names of the parts in torchvision.
NAMES = {"stem": "conv1", "norm": "bn1", "norm1": "bn1", "norm2": "bn2", "norm3": "bn3", "shortcut": "downsample"}


class ImageNetResNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : {18, 34, 50}
    base : int
        Channels of the first stage, doubled at every further one.
    """

    depth: Literal[18, 34, 50] = 18
    base: int = Field(default=64, ge=1)


class ImageNetResNet(nn.Module):
    """A ResNet without its classifier: images [B, C, H, W] to features [B, width], the maps 1/32 of the side.

    Convolutions start from N(0, 2 / (k * k * outputs)), batch norms from 1 and 0.
    """

    zero_head_bias = False

    def __init__(self, channels: int, options: ImageNetResNetOptions) -> None:
        super().__init__()
        kind, counts = FOUR_STAGES[options.depth]
        block: type[Basic] | type[Bottleneck] = Bottleneck if kind == "bottleneck" else Basic
        self.depth, self.channels = options.depth, channels
        self.torchvision_model = f"resnet{options.depth}"
        self.stem = nn.Conv2d(channels, options.base, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(options.base)
        stages = []
        inputs = options.base
        for stage, count in enumerate(counts):
            layers = []
            for index in range(count):
                layers.append(block(inputs, options.base * 2**stage, 2 if stage > 0 and index == 0 else 1))
                inputs = options.base * 2**stage * block.expansion
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.width = inputs
        init_fan_out(self)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, H / 32, W / 32], whose means over positions are the features."""
        maps: Tensor = self.stages(max_pool(torch.relu_(self.norm(self.stem(images)))))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images."""
        return global_pool(self.maps(images))

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Copy the state of torchvision's ResNet of the same depth.

        Raises
        ------
        ReproodError
            If it does not fit.
        """
        try:
            self.load_state_dict({name: state[torchvision_name(name)] for name in self.state_dict()})
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ReproodError(
                f"The weights do not fit the network imagenet_resnet of depth {self.depth} with {self.channels} "
                f"channels ({reason}); ImageNet's weights need base: 64 and images of 3 channels."
            ) from None


def torchvision_name(name: str) -> str:
    """Return the name in torchvision's ResNets of a parameter or buffer of ours.

    Examples
    --------
    >>> torchvision_name("stages.0.1.shortcut.0.weight")
    'layer1.1.downsample.0.weight'
    """
    parts = name.split(".")
    if parts[0] == "stages":
        parts[:2] = [f"layer{int(parts[1]) + 1}"]
    return ".".join(NAMES.get(part, part) for part in parts)


def build(channels: int, **options: Any) -> ImageNetResNet:
    """Build a ResNet for images of `channels` channels; options as in `ImageNetResNetOptions`."""
    return ImageNetResNet(channels, read_options(ImageNetResNetOptions, "imagenet_resnet", channels, options))
