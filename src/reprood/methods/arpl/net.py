"""ARPL's network: the nine-layer network of open-set recognition with reciprocal points instead of a linear layer."""

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.methods.arpl.loss import reciprocal_logits
from reprood.nets.staged import Staged

REAL, GENERATED = 0, 1  # sets of batch normalisation


class PointClassifier(nn.Module):
    """Images in [0, 1] to features, and their reciprocal points.

    Parameters
    ----------
    backbone : nn.Module
        A `Staged` network.
    classes : int
        K.
    two_norms : bool
        Whether generated images have a set of batch normalisation of their own.
    """

    def __init__(self, backbone: nn.Module, classes: int, *, two_norms: bool) -> None:
        super().__init__()
        if not isinstance(backbone, Staged):
            raise ReproodError(
                f"ARPL needs batch normalisation of its own for generated images, which {type(backbone).__name__} does "
                "not have; set the backbone to {name: staged}."
            )
        if two_norms:
            backbone.add_norms()
        self.backbone = backbone
        self.points = nn.Parameter(0.1 * torch.randn(classes, backbone.width))
        self.radius = nn.Parameter(torch.zeros(1))

    def features(self, images: Tensor, norms: int = REAL) -> Tensor:
        """Return features [B, d] of images [B, C, H, W] in [0, 1]."""
        return self.backbone.features_from(images, 0, norms)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of images in [0, 1]."""
        features = self.features(images)
        return reciprocal_logits(features.to(torch.promote_types(features.dtype, torch.float32)), self.points)


class Arpl(nn.Module):
    """The trained network for normalised images: it undoes the normalisation, because ARPL has none.

    Parameters
    ----------
    classifier : PointClassifier
    mean, std : Tensor [C], optional
        Of the normalisation; by default there is none.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: PointClassifier, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        self.classifier = classifier
        channels = classifier.backbone.channels
        self.register_buffer("mean", torch.zeros(channels) if mean is None else mean.float())
        self.register_buffer("std", torch.ones(channels) if std is None else std.float())

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        return self.classifier.features(images * self.std.view(1, -1, 1, 1) + self.mean.view(1, -1, 1, 1))

    def logits_of(self, features: Tensor) -> Tensor:
        """Return logits [B, K] of features [B, d]."""
        return reciprocal_logits(features, self.classifier.points)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of normalised images."""
        return self.logits_of(self.features(images))

    def linear_head(self) -> None:
        """Return None: the logits are quadratic in the features."""
