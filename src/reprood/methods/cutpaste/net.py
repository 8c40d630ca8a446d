"""CutPaste's network: a backbone and the head of the proxy task."""

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.methods.cutpaste.settings import OUTPUTS, Config
from reprood.nets.classifier import width_of
from reprood.nets.layers import global_pool

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def projection_head(width: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Return hidden layers (linear, batch norm, ReLU) and a linear one: features [B, width] to logits [B, outputs]."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.BatchNorm1d(size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _level_width(backbone: nn.Module, level: int) -> int:
    widths: tuple[int, ...] = getattr(backbone, "level_widths", ())
    if level > len(widths):
        raise ReproodError(
            f"{type(backbone).__name__} has no level {level} of features; use the backbone efficientnet, or remove "
            "'level' from the settings."
        )
    return widths[level - 1]


class CutPaste(nn.Module):
    """A backbone and the head of the proxy task.

    There are no classes: `forward` returns zeros for every image and `linear_head` None, so that only the method's own
    scores and detectors on features apply.

    Raises
    ------
    ReproodError
        If the settings name a level and the backbone has no levels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: nn.Module, classes: int, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.classes = classes
        self.level = config.level
        self.width = width_of(backbone) if self.level is None else _level_width(backbone, self.level)
        outputs = OUTPUTS[config.proxy]
        self.head = projection_head(width_of(backbone), config.hidden, outputs) if outputs else None
        self.renormalised = config.pretrained
        self.frozen_norm = config.pretrained and config.frozen_norm
        if config.pretrained:
            self.register_buffer("scale", torch.ones(1, len(IMAGENET_MEAN), 1, 1))
            self.register_buffer("shift", torch.zeros(1, len(IMAGENET_MEAN), 1, 1))

    def train(self, mode: bool = True) -> "CutPaste":
        """Set the mode; frozen batch norms of the backbone stay in evaluation mode."""
        super().train(mode)
        for norm in self._frozen_norms():
            norm.eval()
        return self

    def train_backbone(self, trainable: bool) -> None:
        """Let the backbone be trained, except its frozen batch norms, or the head alone."""
        self.backbone.requires_grad_(trainable)
        for norm in self._frozen_norms():
            norm.requires_grad_(False)

    def _frozen_norms(self) -> list[nn.Module]:
        return [m for m in self.backbone.modules() if isinstance(m, nn.BatchNorm2d)] if self.frozen_norm else []

    def renormalise(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Change images normalised by `mean` and `std` to ImageNet's normalisation in front of the backbone."""
        theirs = torch.tensor([mean, std, IMAGENET_MEAN, IMAGENET_STD], dtype=torch.float64)
        self.scale.copy_((theirs[1] / theirs[3]).view(1, -1, 1, 1))
        self.shift.copy_(((theirs[0] - theirs[2]) / theirs[3]).view(1, -1, 1, 1))

    def _inputs(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift if self.renormalised else images

    def features(self, images: Tensor) -> Tensor:
        """Return the features [B, d] of normalised images [B, C, H, W] on which densities are fitted."""
        if self.level is not None:
            return global_pool(self.maps(images))
        features: Tensor = self.backbone(self._inputs(images))
        return features

    def maps(self, images: Tensor) -> Tensor:
        """Return the maps [B, d, h, w] whose means over positions are the features.

        Raises
        ------
        ReproodError
            If the backbone does not provide them.
        """
        if not hasattr(self.backbone, "maps"):
            raise ReproodError(
                f"{type(self.backbone).__name__} has no maps for Grad-CAM; choose a backbone that has them, or a patch "
                "model (crop), or remove 'segmentation' from the benchmark's evaluations."
            )
        levels = () if self.level is None else (self.level,)
        maps: Tensor = self.backbone.maps(self._inputs(images), *levels)  # type: ignore[operator]
        return maps

    def proxy_logits(self, images: Tensor) -> Tensor:
        """Return logits of the proxy task [B, outputs]."""
        assert self.head is not None
        logits: Tensor = self.head(self.backbone(self._inputs(images)))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return zeros [B, K]."""
        return images.new_zeros(len(images), self.classes)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return None: this model has no class head."""
        return None
