"""BiaMAT's network: a classifier that sees images in [0, 1], and beside it the auxiliary head of its training."""

from typing import Literal

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.methods.biamat.loss import Answers
from reprood.methods.biamat.standardise import standardise_each
from reprood.nets.classifier import Classifier

InputStep = Literal["per_image", "none", "channels"]


class RobustNet(Classifier):
    """A classifier with an input step of its own on images in [0, 1]; what stays of a training.

    `forward` and `features` take images as normalised by the suite, which they undo. The buffer `threshold` is the
    gate's pi, 0 where it was never set.
    """

    mean: Tensor
    std: Tensor
    threshold: Tensor

    def __init__(self, backbone: nn.Module, classes: int, input_step: InputStep) -> None:
        super().__init__(backbone, classes)
        self.input_step = input_step
        shape = (1, image_channels(backbone), 1, 1)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))

    def pixel_features(self, pixels: Tensor) -> Tensor:
        """Pooled features [B, d] of images [B, C, H, W] in [0, 1]."""
        if self.input_step == "per_image":
            pixels = standardise_each(pixels)
        elif self.input_step == "channels":
            pixels = (pixels - self.mean) / self.std
        features: Tensor = self.backbone(pixels)
        return features

    def features(self, images: Tensor) -> Tensor:
        """Pooled features [B, d] of normalised images [B, C, H, W]."""
        return self.pixel_features(images * self.std + self.mean)


class TwoHeads(nn.Module):
    """A `RobustNet` with an auxiliary head on its features, which is left behind after the training.

    Parameters
    ----------
    primary : RobustNet
    classes : int
        Of the auxiliary set; 0: without a head.

    The buffer `counted` has the auxiliary images since the last row of the history that met the gate, and those of
    them that were IN.
    """

    counted: Tensor

    def __init__(self, primary: RobustNet, classes: int) -> None:
        super().__init__()
        self.primary = primary
        self.auxiliary = nn.Linear(primary.width, classes) if classes else None
        self.register_buffer("counted", torch.zeros(2, dtype=torch.int64))

    def answers(self, pixels: Tensor, outer: int) -> Answers:
        """Of images in [0, 1]: the primary head's logits of the first `outer`, the auxiliary head's of the others."""
        features = self.primary.pixel_features(pixels)
        first = self.primary.head(features[:outer])
        last = first[:0] if self.auxiliary is None else self.auxiliary(features[outer:])
        exact = torch.promote_types(first.dtype, torch.float32)
        return Answers(first.to(exact), last.to(exact))

    def forward(self, images: Tensor) -> Tensor:
        """The primary head's logits [B, K] of normalised images."""
        logits: Tensor = self.primary(images)
        return logits


def image_channels(backbone: nn.Module) -> int:
    """How many channels the first convolution of a backbone takes.

    Raises
    ------
    ReproodError
        When there is none.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ReproodError(f"BiaMAT needs a convolutional network, and {type(backbone).__name__} has no convolution.")


def draw_head(head: nn.Linear) -> None:
    """The adversarial training program's dense layers: weights uniform in +-sqrt(3 / inputs), bias 0."""
    bound = (3 / head.in_features) ** 0.5
    nn.init.uniform_(head.weight, -bound, bound)
    nn.init.zeros_(head.bias)
