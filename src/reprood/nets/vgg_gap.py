"""VGG-16 with global average pooling instead of its dense layers (VGG-GAP; CutMix, appendix B).

The 13 convolutions of VGG-16 (Simonyan and Zisserman 2015) with a bias each and without its last pooling, so that
images of 224 pixels give maps of 14 x 14; then a 3 x 3 convolution to 1,024 maps, ReLU, and their means (Zhou et al.
2016). The CutMix paper does not describe the network further: this form, and the initialisation of the added
convolution, are those of the code of Choe et al. 2020 ("Evaluating Weakly Supervised Object Localization Methods
Right"), by some of its authors. torchvision's ImageNet weights of VGG-16 fit the 13 convolutions.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.nets.layers import global_pool, init_fan_out
from reprood.nets.localising import centre_crop
from reprood.nets.options import Options, read_options

STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # widths as multiples of the first; pooling in between
WIDENING = 16  # of the added convolution: 1,024 maps


class VggGapOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    base : int
        Channels of the first convolution.
    crop : int or None
        Side in pixels of the middle part of larger images, which alone the network sees; None: all.
    """

    base: int = Field(default=64, ge=1)
    crop: int | None = Field(default=None, ge=16)


class VggGap(nn.Module):
    """The network without its classifier: images [B, C, H, W] to features [B, width], the maps 1/16 of the side."""

    torchvision_model = "vgg16"

    def __init__(self, channels: int, options: VggGapOptions) -> None:
        super().__init__()
        self.channels, self.crop = channels, options.crop
        stages = []
        inputs = channels
        for multiples in STAGES:
            layers = []
            for multiple in multiples:
                layers.append(nn.Conv2d(inputs, options.base * multiple, 3, padding=1))
                inputs = options.base * multiple
            stages.append(nn.ModuleList(layers))
        self.stages = nn.ModuleList(stages)
        self.width = WIDENING * options.base
        self.last = nn.Conv2d(inputs, self.width, 3, padding=1)
        init_fan_out(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, H / 16, W / 16], of the middle part alone if images are cropped."""
        images = centre_crop(images, self.crop)
        for number, stage in enumerate(self.stages):
            if number:
                images = functional.max_pool2d(images, 2)
            for convolution in stage:  # type: ignore[attr-defined]
                images = torch.relu_(convolution(images))
        return torch.relu_(self.last(images))

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images, the means of the last maps."""
        return global_pool(self.maps(images))

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Copy the convolutions of torchvision's VGG-16; the last one keeps its random weights.

        Raises
        ------
        ReproodError
            If they do not fit.
        """
        names = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
        own = [convolution for stage in self.stages for convolution in stage]  # type: ignore[attr-defined]
        try:
            for convolution, name in zip(own, names, strict=True):
                part = {key: state[f"features.{name}.{key}"] for key in ("weight", "bias")}
                convolution.load_state_dict(part)
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ReproodError(
                f"The weights do not fit the network vgg_gap with {self.channels} channels ({reason}); ImageNet's "
                "weights need base: 64 and images of 3 channels."
            ) from None


def build(channels: int, **options: Any) -> VggGap:
    """Build the network for images of `channels` channels; options as in `VggGapOptions`."""
    return VggGap(channels, read_options(VggGapOptions, "vgg_gap", channels, options))
