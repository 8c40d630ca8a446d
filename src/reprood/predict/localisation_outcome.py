"""Top-1 localisation of any batch of images: for data that no split holds, such as streamed ImageNet."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from reprood.evaluate.localisation import THRESHOLD, iou
from reprood.predict.localise import Rule, localise


@dataclass(frozen=True)
class Outcome:
    """What a network localises, one value for each image.

    Attributes
    ----------
    right : bool array [N]
        Whether the predicted class is right.
    overlap, overlap_known : float array [N]
        Largest overlap (intersection over union) of a true box with the box of the predicted class, and with that of
        the right class.
    """

    right: np.ndarray
    overlap: np.ndarray
    overlap_known: np.ndarray

    @property
    def localised(self) -> np.ndarray:
        """Whether the class is right and the overlap above one half (top-1 localisation), bool [N]."""
        return np.asarray(self.right & (self.overlap > THRESHOLD))


@torch.no_grad()
def localisation_outcome(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    boxes: list[np.ndarray],
    threshold: float = 0.15,
    rule: Rule = "maximum",
) -> Outcome:
    """Classify and localise images by class activation maps (CutMix, appendix B).

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, on the device of the images; with a backbone that has `maps`, and an affine last layer.
    images : Tensor [N, C, S, S]
        Normalised.
    labels : int64 Tensor [N]
        Right classes.
    boxes : list of float arrays [n, 4]
        For each image the true boxes (x0, y0, x1, y1 in pixels of the images, ends exclusive), at least one: ImageNet
        has images with several objects of their class, and one of them has to be found.
    threshold, rule
        As in `reprood.predict.localise.boxes_of`.

    Raises
    ------
    ReproodError
        When the model has no class activation maps.
    """
    predictions = model(images).argmax(dim=1)
    found = localise(model, lambda: [images], predictions, labels, images.shape[2], threshold)[rule]
    return Outcome((predictions == labels).cpu().numpy(), _best(boxes, found.predicted), _best(boxes, found.true))


def _best(true: list[np.ndarray], found: np.ndarray) -> np.ndarray:
    """Return the largest overlap of one of the true boxes of each image with the box found."""
    overlaps = [
        float(iou(np.asarray(own, np.float64), np.repeat(box[None], len(own), axis=0)).max())
        for own, box in zip(true, found, strict=True)
    ]
    return np.array(overlaps)
