"""A backbone with the heads of contrastive learning on shifted images (CSI, Tack et al. 2020)."""

import torch
from torch import Tensor, nn

from reprood.methods.csi.shifts import COUNTS, Shift
from reprood.methods.csi.shifts import shift as shifted
from reprood.nets.classifier import width_of

CHANNELS = 3  # largest number of channels that are normalised


def marginalised(joint: Tensor, classes: int) -> Tensor:
    """Return class logits averaged over the shifts (CSI-ens).

    Parameters
    ----------
    joint : Tensor [K, N, K C]
        Joint logits of the images under each shift; class c under shift k is at C k + c.
    classes : int
        C.

    Returns
    -------
    Tensor [N, C]

    Examples
    --------
    >>> joint = torch.tensor([[[1.0, 2.0, 0.0, 0.0]], [[0.0, 0.0, 3.0, 4.0]]])
    >>> marginalised(joint, classes=2)
    tensor([[2., 3.]])
    """
    return torch.stack([logits[:, classes * k : classes * (k + 1)] for k, logits in enumerate(joint)]).mean(dim=0)


class ContrastiveNet(nn.Module):
    """A backbone with a projection (Linear, ReLU, Linear) and linear layers, each on the pooled features.

    Without labels there are no classes: `forward` returns zeros and `linear_head` None. The benchmark's normalisation
    is undone first, because colours and crops are made from images in [0, 1]; the backbone receives (x - 0.5) / 0.5 as
    in the authors' code.

    Parameters
    ----------
    backbone : nn.Module
        Maps images to features [B, d]; its `width` is d.
    classes : int
        C.
    shift : str
        Family of K shifts.
    shift_head : bool
        Whether there is a layer that predicts the shift (K logits).
    labelled : bool
        With a layer for the classes and, with several shifts, one for pairs of class and shift (K C logits).
    marginalise : bool
        Predict by the joint layer, averaged over the shifts, instead of the class layer.
    projection : int
        Length of the projections.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        *,
        shift: Shift = "none",
        shift_head: bool = False,
        labelled: bool = False,
        marginalise: bool = False,
        projection: int = 128,
    ) -> None:
        super().__init__()
        shifts = COUNTS[shift]
        self.backbone = backbone
        self.width = width_of(backbone)
        self.classes = classes
        self.shift: Shift = shift
        self.marginalise = marginalise
        self.project = nn.Sequential(nn.Linear(self.width, self.width), nn.ReLU(), nn.Linear(self.width, projection))
        self.shift_head = nn.Linear(self.width, shifts) if shift_head else None
        self.head = nn.Linear(self.width, classes) if labelled else None
        self.joint_head = nn.Linear(self.width, shifts * classes) if labelled and shifts > 1 else None
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("std", torch.ones(CHANNELS))

    def pixels(self, images: Tensor) -> Tensor:
        """Return normalised images [B, C, H, W] in [0, 1]."""
        channels = images.shape[1]
        return (images * self.std[:channels, None, None] + self.mean[:channels, None, None]).clamp(0, 1)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return features [B, d] of images in [0, 1]."""
        features: Tensor = self.backbone(pixels * 2 - 1)
        return features

    def outputs(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return projections [B, 128] and, if there is that layer, shift logits [B, K] of images in [0, 1]."""
        features = self.embed(pixels)
        projections: Tensor = self.project(features)
        return (projections,) if self.shift_head is None else (projections, self.shift_head(features))

    def features(self, images: Tensor) -> Tensor:
        """Return features [B, d] of normalised images [B, C, H, W]."""
        return self.embed(self.pixels(images))

    def joint_logits(self, images: Tensor) -> Tensor:
        """Return logits of class and shift for normalised images under every shift, [K, B, K C]."""
        assert self.joint_head is not None
        pixels = self.pixels(images)
        parts = [shifted(pixels, self.shift, number) for number in range(COUNTS[self.shift])]
        return torch.stack([self.joint_head(self.embed(part)) for part in parts])

    def single(self, images: Tensor) -> Tensor:
        """Return class logits [B, C] of normalised images as they are."""
        assert self.head is not None
        logits: Tensor = self.head(self.features(images))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits [B, C] of normalised images; zeros without labels."""
        if self.marginalise:
            return marginalised(self.joint_logits(images), self.classes)
        return images.new_zeros(len(images), self.classes) if self.head is None else self.single(images)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return weight [C, d] and bias [C] of the class layer, if it makes the prediction."""
        if self.head is None or self.marginalise:
            return None
        return self.head.weight.detach(), self.head.bias.detach()
