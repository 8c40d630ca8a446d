"""The nine-layer network of open-set recognition (Neal et al. 2018), in three stages that can be entered separately.

In the form of the code of ARPL and DIAS (Moon et al. 2022): three 3 x 3 convolutions per stage, the last of which
halves the maps; batch normalisation, leaky ReLU (slope 0.2), and whole channels dropped in front of each stage, the
image's own channels included. There may be several sets of batch normalisation, for images of different origin.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.layers import conv3x3, global_pool
from reprood.nets.options import Options, read_options

SLOPE = 0.2
Layers = Sequence[tuple[int, int]]


class StagedOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    width : int
        Channels of the first two convolutions; the others have twice as many.
    dropout : float
        Fraction of channels dropped in front of each stage.
    stem_stride : {1, 2}
        2 quarters the cost for small CPU runs; the paper uses 1.
    """

    width: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    stem_stride: Literal[1, 2] = 1


class Unit(nn.Module):
    """Convolution, one of several batch normalisations, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = conv3x3(inputs, outputs, stride)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs)])

    def forward(self, maps: Tensor, norms: int = 0) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        return functional.leaky_relu_(self.norms[norms](self.conv(maps)), SLOPE)


class Stage(nn.Module):
    """Channel dropout, then units.

    Parameters
    ----------
    inputs : int
        Channels.
    layers : sequence of (int, int)
        Channels and stride of each unit.
    dropout : float
        Fraction of channels dropped.
    """

    def __init__(self, inputs: int, layers: Layers, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        before = (inputs, *(outputs for outputs, _ in layers))
        self.units = nn.ModuleList(Unit(i, outputs, stride) for i, (outputs, stride) in zip(before, layers))

    def forward(self, maps: Tensor, norms: int = 0) -> Tensor:
        """Apply dropout and units, with batch normalisation number `norms`."""
        maps = functional.dropout2d(maps, self.dropout, self.training)
        for unit in self.units:
            maps = unit(maps, norms)
        return maps


class Staged(nn.Module):
    """The network without its classifier: images [B, C, H, W] to features [B, width].

    Parameters
    ----------
    channels : int
        Of the images.
    stages : sequence of sequences of (int, int)
        Channels and stride of every unit of every stage.
    dropout : float
        Fraction of channels dropped in front of each stage.
    """

    def __init__(self, channels: int, stages: Sequence[Layers], dropout: float) -> None:
        super().__init__()
        self.channels = channels
        self.width = stages[-1][-1][0]
        before = (channels, *(layers[-1][0] for layers in stages))
        self.stages = nn.ModuleList(Stage(i, layers, dropout) for i, layers in zip(before, stages))
        self.initialise()

    def initialise(self) -> None:
        """Draw every weight: convolutions from N(0, 0.05^2), batch norm gains from N(1, 0.02^2) with shift 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.05)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
                nn.init.zeros_(module.bias)

    def add_norms(self) -> None:
        """Give every unit one more batch normalisation, initialised like the first."""
        for unit in self.modules():
            if isinstance(unit, Unit):
                fresh = nn.BatchNorm2d(unit.norms[0].num_features)  # type: ignore[arg-type]
                nn.init.normal_(fresh.weight, 1.0, 0.02)
                unit.norms.append(fresh)

    def outputs(self, images: Tensor, norms: int = 0) -> list[Tensor]:
        """Return the outputs of all stages: maps [B, c, h, w], and of the last one their means [B, width]."""
        outputs: list[Tensor] = []
        for stage in self.stages:
            outputs.append(stage(outputs[-1] if outputs else images, norms))
        return [*outputs[:-1], global_pool(outputs[-1])]

    def features_from(self, maps: Tensor, skipped: int, norms: int = 0) -> Tensor:
        """Return features [B, width] with the first `skipped` stages replaced by their maps."""
        for stage in self.stages[skipped:]:
            maps = stage(maps, norms)
        return global_pool(maps)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, width, h, w], whose means over positions are the features."""
        for stage in self.stages:
            images = stage(images)
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of images, with the first set of batch normalisation."""
        return global_pool(self.maps(images))


def build(channels: int, **options: Any) -> Staged:
    """Build the network for images of `channels` channels; options as in `StagedOptions`."""
    chosen = read_options(StagedOptions, "staged", channels, options)
    width, double = chosen.width, 2 * chosen.width
    first = ((width, chosen.stem_stride), (width, 1), (double, 2))
    later = ((double, 1), (double, 1), (double, 2))
    return Staged(channels, (first, later, later), chosen.dropout)
