"""The network of CnC: K classes and one for everything else."""

import torch
from torch import Tensor, nn

from reprood.nets.classifier import Classifier


class ExtraClass(Classifier):
    """A classifier of K + 1 classes that predicts one of the first K (section 3.2).

    `forward` and `linear_head` are those of the K classes; `all_logits` has the extra class as its last column.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__(backbone, classes + 1)
        self.classes = classes

    def all_logits(self, images: Tensor) -> Tensor:
        """Return logits [B, K + 1] of normalised images [B, C, H, W]."""
        return super().forward(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of the classes."""
        return self.all_logits(images)[:, : self.classes]

    def linear_head(self) -> tuple[Tensor, Tensor]:
        """Return the detached weight [K, d] and bias [K] of the classes."""
        weight, bias = super().linear_head()
        return weight[: self.classes], bias[: self.classes]


def with_extra_class(model: Classifier) -> ExtraClass:
    """Return a classifier of K classes with one more, freshly initialised output; the K logits do not change."""
    extended = ExtraClass(model.backbone, model.head.out_features)
    weight, bias = model.linear_head()
    with torch.no_grad():
        extended.head.weight[: extended.classes] = weight.cpu()
        extended.head.bias[: extended.classes] = bias.cpu()
    return extended
