"""EfficientNet (Tan, Le 2019), as torchvision builds it: the network of CutPaste's transfer experiments (B4).

The features of a level are means over positions of its maps. Level 1 is the stem, levels 2 to 8 are the stages of
blocks, level 9 is the last convolution. CutPaste's "pool" is level 9. Its "level-7" is not defined in the text; the
levels are counted as by O. Rippel, P. Mertens, D. Merhof: Modeling the Distribution of Normal Data in Pre-Trained Deep
Features for Anomaly Detection, ICPR 2020, so that level 7 of B4 has 272 channels.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.nets.layers import global_pool
from reprood.nets.options import Options, read_options

LAST = 9
WIDTHS = {
    "b0": (32, 16, 24, 40, 80, 112, 192, 320, 1280),
    "b4": (48, 24, 32, 56, 112, 160, 272, 448, 1792),
}


class EfficientNetOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    variant : {"b0", "b4"}
    stochastic_depth : float
        In training, the share of images for which the last block is skipped; less for earlier blocks, in proportion.
    """

    variant: Literal["b0", "b4"] = "b4"
    stochastic_depth: float = Field(default=0.2, ge=0, lt=1)


class EfficientNet(nn.Module):
    """An EfficientNet without its classifier: images [B, C, H, W] to features [B, width], the maps 1/32 of the side.

    Attributes
    ----------
    level_widths : tuple of int
        Numbers of channels of the nine levels.
    """

    zero_head_bias = True

    def __init__(self, channels: int, options: EfficientNetOptions) -> None:
        super().__init__()
        from torchvision.models import get_model  # a second of imports that other networks need not wait for

        self.torchvision_model = f"efficientnet_{options.variant}"
        self.channels = channels
        self.level_widths = WIDTHS[options.variant]
        self.width = self.level_widths[-1]
        theirs = get_model(self.torchvision_model, weights=None, stochastic_depth_prob=options.stochastic_depth)
        self.levels: nn.Sequential = theirs.features
        if channels != 3:
            stem = nn.Conv2d(channels, self.level_widths[0], 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(stem.weight, mode="fan_out")
            self.levels[0][0] = stem

    def maps(self, images: Tensor, level: int = LAST) -> Tensor:
        """Return the maps [B, d, h, w] of a level, 1 to 9; the means of those of level 9 are the features."""
        maps: Tensor = self.levels[:level](images)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images."""
        return global_pool(self.maps(images))

    def load_torchvision(self, state: Mapping[str, Tensor]) -> None:
        """Copy the state of torchvision's network of the same variant.

        Raises
        ------
        ReproodError
            If it does not fit.
        """
        ours = {name.removeprefix("features."): values for name, values in state.items() if name[:9] == "features."}
        try:
            self.levels.load_state_dict(ours)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ReproodError(
                f"The weights do not fit {self.torchvision_model} with {self.channels} channels ({reason}); ImageNet's "
                "weights need images of 3 channels."
            ) from None


def build(channels: int, **options: Any) -> EfficientNet:
    """Build an EfficientNet for images of `channels` channels; options as in `EfficientNetOptions`."""
    return EfficientNet(channels, read_options(EfficientNetOptions, "efficientnet", channels, options))
