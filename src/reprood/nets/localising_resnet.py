"""ResNet for localisation: the usual form for large images, the last stage without its stride (CutMix, appendix B).

Images of 224 pixels give maps of 14 x 14 instead of 7 x 7. torchvision's ImageNet weights fit: no parameter changes.
"""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from reprood.nets.imagenet_resnet import ImageNetResNet, ImageNetResNetOptions
from reprood.nets.layers import StridedPointwise
from reprood.nets.localising import centre_crop
from reprood.nets.options import Options, read_options


class LocalisingResNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    depth : {18, 34, 50}
    base : int
        Channels of the first stage, doubled at every further one.
    crop : int or None
        Side in pixels of the middle part of larger images, which alone the network sees; None: all.
    """

    depth: Literal[18, 34, 50] = 50
    base: int = Field(default=64, ge=1)
    crop: int | None = Field(default=None, ge=16)


class LocalisingResNet(ImageNetResNet):
    """A ResNet without its classifier: images [B, C, H, W] to features [B, width], the maps 1/16 of the side."""

    def __init__(self, channels: int, options: LocalisingResNetOptions) -> None:
        super().__init__(channels, ImageNetResNetOptions(depth=options.depth, base=options.base))
        self.crop = options.crop
        for module in self.stages[-1].modules():
            if isinstance(module, StridedPointwise):
                module.step = 1
            elif isinstance(module, nn.Conv2d):
                module.stride = (1, 1)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, H / 16, W / 16], of the middle part alone if images are cropped."""
        return super().maps(centre_crop(images, self.crop))


def build(channels: int, **options: Any) -> LocalisingResNet:
    """Build a ResNet for images of `channels` channels; options as in `LocalisingResNetOptions`."""
    return LocalisingResNet(channels, read_options(LocalisingResNetOptions, "localising_resnet", channels, options))
