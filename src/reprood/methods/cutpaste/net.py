"""CutPaste's network: a backbone and the head of the proxy task."""

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.methods.cutpaste.settings import OUTPUTS, Config
from reprood.nets.classifier import width_of

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def projection_head(width: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Return hidden layers (linear, batch norm, ReLU) and a linear one: features [B, width] to logits [B, outputs]."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.BatchNorm1d(size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class CutPaste(nn.Module):
    """A backbone and the head of the proxy task.

    There are no classes: `forward` returns zeros for every image and `linear_head` None, so that only the method's own
    scores and detectors on features apply.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: nn.Module, classes: int, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width_of(backbone)
        self.classes = classes
        outputs = OUTPUTS[config.proxy]
        self.head = projection_head(self.width, config.hidden, outputs) if outputs else None
        self.renormalised = config.pretrained
        if config.pretrained:
            self.register_buffer("scale", torch.ones(1, len(IMAGENET_MEAN), 1, 1))
            self.register_buffer("shift", torch.zeros(1, len(IMAGENET_MEAN), 1, 1))

    def renormalise(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Change images normalised by `mean` and `std` to ImageNet's normalisation in front of the backbone."""
        theirs = torch.tensor([mean, std, IMAGENET_MEAN, IMAGENET_STD], dtype=torch.float64)
        self.scale.copy_((theirs[1] / theirs[3]).view(1, -1, 1, 1))
        self.shift.copy_(((theirs[0] - theirs[2]) / theirs[3]).view(1, -1, 1, 1))

    def _inputs(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift if self.renormalised else images

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, d] of normalised images [B, C, H, W]."""
        features: Tensor = self.backbone(self._inputs(images))
        return features

    def maps(self, images: Tensor) -> Tensor:
        """Return the last maps [B, d, h, w], whose means over positions are the features.

        Raises
        ------
        ReproodError
            If the backbone does not provide them.
        """
        if not hasattr(self.backbone, "maps"):
            raise ReproodError(
                f"{type(self.backbone).__name__} has no maps for Grad-CAM; choose a backbone that has, or a patch "
                "model (crop), or leave 'segmentation' out of the benchmark's evaluations."
            )
        maps: Tensor = self.backbone.maps(self._inputs(images))  # type: ignore[operator]
        return maps

    def proxy_logits(self, images: Tensor, frozen: bool = False) -> Tensor:
        """Return logits of the proxy task [B, outputs]; with `frozen` no gradient reaches the backbone."""
        assert self.head is not None
        features = self.features(images)
        logits: Tensor = self.head(features.detach() if frozen else features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return zeros [B, K]."""
        return images.new_zeros(len(images), self.classes)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return None: this model has no class head."""
        return None
