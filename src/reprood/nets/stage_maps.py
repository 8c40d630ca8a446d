"""The feature maps of a classifier's stages: what a detector or a caption generator builds on."""

import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError

TORCHVISION = ("layer1", "layer2", "layer3", "layer4")  # stages of torchvision's ResNets


class StageMaps(nn.Module):
    """Maps of the last stages of a backbone, from fine to coarse: images [B, C, H, W] to [B, D_i, h_i, w_i].

    Parameters
    ----------
    backbone : nn.Module
        With stages in a row: our residual networks, and torchvision's ResNets. The last maps are those whose means over
        positions are the features, the others the outputs of the stages.
    levels : int
        Number of stages, counted from the last.
    frozen_norm : bool
        Keep the running statistics of batch normalisation, as detectors do, whose batches are small; its gains and
        shifts are still trained.

    Raises
    ------
    ReproodError
        If the backbone has no stages or not as many.
    """

    def __init__(self, backbone: nn.Module, levels: int, *, frozen_norm: bool = True) -> None:
        super().__init__()
        stages = stages_of(backbone)
        if not 1 <= levels <= len(stages):
            raise ReproodError(f"Maps of {levels} stages of a network with {len(stages)}; expected 1 to {len(stages)}.")
        self.backbone, self.levels, self.frozen_norm = backbone, levels, frozen_norm

    def train(self, mode: bool = True) -> "StageMaps":
        """Set the mode; batch normalisation with frozen statistics stays in evaluation mode."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of the last `levels` stages of normalised images."""
        found: list[Tensor] = []

        def keep(_: nn.Module, __: object, maps: Tensor) -> None:
            found.append(maps)

        inner = stages_of(self.backbone)[-self.levels :]
        handles = [stage.register_forward_hook(keep) for stage in inner]
        try:
            last: Tensor = getattr(self.backbone, "maps", self.backbone)(images)
        finally:
            for handle in handles:
                handle.remove()
        return [*found[:-1], last] if last.dim() == 4 else found


def stages_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the stages of a backbone in the order of the forward pass.

    Raises
    ------
    ReproodError
        If it has none.
    """
    stages = getattr(backbone, "stages", None)
    if isinstance(stages, nn.Sequential) and hasattr(backbone, "maps"):
        return list(stages)
    network = getattr(backbone, "network", None)
    if all(hasattr(network, name) for name in TORCHVISION):
        return [getattr(network, name) for name in TORCHVISION]
    raise ReproodError(
        f"The backbone {type(backbone).__name__} has no stages whose maps could be read; use a residual network (wrn, "
        "resnet, imagenet_resnet, or a ResNet of torchvision)."
    )


@torch.no_grad()
def map_shapes(maps: StageMaps, channels: int, size: int) -> list[tuple[int, int]]:
    """Return (channels, side) of the maps of square images of side `size`."""
    mode = maps.training
    shapes = [(part.shape[1], part.shape[2]) for part in maps.eval()(torch.zeros(1, channels, size, size))]
    maps.train(mode)
    return shapes
