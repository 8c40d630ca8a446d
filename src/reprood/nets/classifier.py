"""A backbone and the affine head that turns its features into logits."""

from torch import Tensor, nn


def make_head(backbone: nn.Module, outputs: int) -> nn.Linear:
    """Return a linear layer on a backbone's features, initialised as in the backbone's code base.

    If the backbone has an attribute `kaiming_head` that is true, the weights are drawn from N(0, 2 / d); with
    `zero_head_bias` the bias is zero. Otherwise PyTorch's initialisation is kept.
    """
    head = nn.Linear(width_of(backbone), outputs)
    if getattr(backbone, "kaiming_head", False):
        nn.init.kaiming_normal_(head.weight)
    if getattr(backbone, "zero_head_bias", False):
        nn.init.zeros_(head.bias)
    return head


class Classifier(nn.Module):
    """Backbone followed by a linear layer: features z = phi(x), logits W z + b.

    Parameters
    ----------
    backbone : nn.Module
        Maps images [B, C, H, W] to features [B, d]; its `width` is d.
    classes : int
        Number of classes K.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width_of(backbone)
        self.head = make_head(backbone, classes)

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
    """Return the number of features of a backbone (its attribute `width`)."""
    width = backbone.width
    if not isinstance(width, int):
        raise TypeError(f"{type(backbone).__name__}.width must be an int, not {type(width).__name__}")
    return width
