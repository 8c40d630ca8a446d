"""A backbone and the affine head that turns its features into logits."""

from torch import Tensor, nn


class Classifier(nn.Module):
    """Backbone followed by a linear layer: features z = phi(x), logits W z + b.

    Parameters
    ----------
    backbone : nn.Module
        Maps images [B, C, H, W] to features [B, d]; its `width` is d. Its `zero_head_bias` says whether its code base
        starts the classifier's bias at zero; without that attribute PyTorch's initialisation is kept.
    classes : int
        Number of classes K.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width_of(backbone)
        self.head = nn.Linear(self.width, classes)
        if getattr(backbone, "zero_head_bias", False):
            nn.init.zeros_(self.head.bias)

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        features: Tensor = self.backbone(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K]."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def linear_head(self) -> tuple[Tensor, Tensor]:
        """Return the detached weight [K, d] and bias [K] with which `logits == features @ weight.T + bias`."""
        return self.head.weight.detach(), self.head.bias.detach()


def width_of(backbone: nn.Module) -> int:
    """Return the number of features that a backbone gives per image (its attribute `width`)."""
    width = backbone.width
    if not isinstance(width, int):
        raise TypeError(f"{type(backbone).__name__}.width must be an int, not {type(width).__name__}")
    return width
