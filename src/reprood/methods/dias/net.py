"""DIAS' networks: the classifier that can be entered between its stages, and the model that is evaluated.

Moon et al. (2022), arXiv 2207.10024, published code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.nets.staged import Staged

REAL, GENERATED = 0, 1  # sets of batch normalisation


class StagedClassifier(nn.Module):
    """A staged network with a second set of batch normalisation, and a linear layer without bias.

    Parameters
    ----------
    backbone : nn.Module
        A `Staged` network of three stages.
    classes : int
        K.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        if not isinstance(backbone, Staged) or len(backbone.stages) != 3:
            raise ReproodError(
                f"DIAS enters the classifier between its three stages, which {type(backbone).__name__} does not have; "
                "set the backbone to {name: staged}."
            )
        backbone.add_norms()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, classes, bias=False)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps of the first and the second stage [B, c, h, w], and features [B, d]."""
        first, second, features = self.backbone.outputs(images, REAL)
        return first, second, features

    def logits_from(self, maps: Tensor, skipped: int) -> Tensor:
        """Return logits [B, K] with the first `skipped` stages replaced by their maps, normalised like real images."""
        return self.head(self.backbone.features_from(maps, skipped, REAL))  # type: ignore[no-any-return]

    def forward(self, images: Tensor, norms: int = REAL) -> Tensor:
        """Return logits [B, K] of images [B, C, H, W] in [0, 1]."""
        return self.head(self.backbone.features_from(images, 0, norms))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Networks:
    """All networks of a training; copycat, generator and discriminator are None if nothing needs them.

    The generator maps noise [B, n, 1, 1] to images in [0, 1], the discriminator images to log-odds [B] of being real.
    """

    classifier: StagedClassifier
    copycat: StagedClassifier | None = None
    generator: nn.Module | None = None
    discriminator: nn.Module | None = None


class Dias(nn.Module):
    """The trained classifier for normalised images: it undoes the normalisation, because DIAS has none.

    Parameters
    ----------
    classifier : StagedClassifier
    mean, std : Tensor [C], optional
        Of the normalisation; by default there is none.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: StagedClassifier, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        self.classifier = classifier
        channels = classifier.backbone.channels
        self.register_buffer("mean", torch.zeros(channels) if mean is None else mean.float())
        self.register_buffer("std", torch.ones(channels) if std is None else std.float())

    def _plain(self, images: Tensor) -> Tensor:
        return images * self.std.view(1, -1, 1, 1) + self.mean.view(1, -1, 1, 1)

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, d, h, w], whose means over positions are the features."""
        return self.classifier.backbone.maps(self._plain(images))

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        return self.classifier.backbone(self._plain(images))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K] of normalised images."""
        return self.classifier(self._plain(images))  # type: ignore[no-any-return]

    def linear_head(self) -> tuple[Tensor, Tensor]:
        """Return the detached weight [K, d] and a bias of zeros [K]."""
        weight = self.classifier.head.weight.detach()
        return weight, weight.new_zeros(len(weight))
