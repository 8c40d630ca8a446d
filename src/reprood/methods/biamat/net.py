"""BiaMAT's network: a classifier that takes images in [0, 1], and the auxiliary head of its training."""

from typing import Literal

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.methods.biamat.loss import HeadLogits
from reprood.methods.biamat.standardise import standardise_each
from reprood.nets.classifier import Classifier

InputStep = Literal["per_image", "none", "channels"]


class RobustNet(Classifier):
    """A classifier with its own input step on images in [0, 1]; the part of the network that is kept.

    `forward` and `features` take images as normalised by the suite and undo this. The buffer `threshold` is the gate's
    pi, 0 if it was never set.
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
        """Return pooled features [B, d] of images [B, C, H, W] in [0, 1]."""
        if self.input_step == "per_image":
            pixels = standardise_each(pixels)
        elif self.input_step == "channels":
            pixels = (pixels - self.mean) / self.std
        features: Tensor = self.backbone(pixels)
        return features

    def pixel_logits(self, pixels: Tensor) -> Tensor:
        """Return logits [B, K] of images [B, C, H, W] in [0, 1]."""
        logits: Tensor = self.head(self.pixel_features(pixels))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        return self.pixel_features(images * self.std + self.mean)


class TwoHeads(nn.Module):
    """A `RobustNet` with an auxiliary head on its features, which is dropped after the training.

    The buffer `counted` has the number of auxiliary images that the gate judged since the last row of the history, and
    how many of them were IN.

    Parameters
    ----------
    primary : RobustNet
    classes : int
        Of the auxiliary set; 0: without a head.
    """

    counted: Tensor

    def __init__(self, primary: RobustNet, classes: int) -> None:
        super().__init__()
        self.primary = primary
        self.auxiliary = nn.Linear(primary.width, classes) if classes else None
        self.register_buffer("counted", torch.zeros(2, dtype=torch.int64))

    def head_logits(self, pixels: Tensor, outer: int) -> HeadLogits:
        """Return the primary head's logits of the first `outer` images and the auxiliary head's of the others.

        Images [B, C, H, W] are in [0, 1].
        """
        features = self.primary.pixel_features(pixels)
        first = self.primary.head(features[:outer])
        last = first[:0] if self.auxiliary is None else self.auxiliary(features[outer:])
        exact = torch.promote_types(first.dtype, torch.float32)
        return HeadLogits(first.to(exact), last.to(exact))

    def forward(self, images: Tensor) -> Tensor:
        """Return the primary head's logits [B, K] of normalised images."""
        logits: Tensor = self.primary(images)
        return logits


def image_channels(backbone: nn.Module) -> int:
    """Return how many channels the first convolution of a backbone takes.

    Raises
    ------
    ReproodError
        If there is no convolution.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ReproodError(f"BiaMAT needs a convolutional network, but {type(backbone).__name__} has no convolution.")


def draw_head(head: nn.Linear) -> None:
    """Draw a dense layer as the adversarial training program does: weights uniform in +-sqrt(3 / inputs), bias 0."""
    bound = (3 / head.in_features) ** 0.5
    nn.init.uniform_(head.weight, -bound, bound)
    nn.init.zeros_(head.bias)
