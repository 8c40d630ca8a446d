"""Top-1 localisation of a batch: right class, best of several boxes, overlap above one half."""

import numpy as np
import torch
from torch import nn

from reprood.predict.localisation_outcome import localisation_outcome


class Squares(nn.Module):
    """Maps of two classes: the image's own square, and its mirror image; features are their means."""

    width = 2

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat((images, images.flip(3)), dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.maps(images).mean(dim=(2, 3))


class Model(nn.Module):
    """Always predicts class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Squares()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0]]).repeat(len(images), 1)

    def linear_head(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.eye(2), torch.zeros(2)


def test_a_class_must_be_right_and_one_of_the_boxes_found() -> None:
    images = torch.zeros(4, 1, 16, 16)
    images[:, :, 2:6, 2:6] = 1
    square, mirrored, far = [2, 2, 6, 6], [10, 2, 14, 6], [8, 8, 16, 16]
    boxes = [np.array(own, float) for own in ([far, square], [mirrored], [[2, 2, 6, 10]], [far])]
    found = localisation_outcome(Model(), images, torch.tensor([0, 1, 0, 0]), boxes)
    assert found.right.tolist() == [True, False, True, True]
    assert found.overlap.tolist() == [1, 0, 0.5, 0]  # one half is not above one half
    assert found.overlap_known.tolist() == [1, 1, 0.5, 0]
    assert found.localised.tolist() == [True, False, False, False]
