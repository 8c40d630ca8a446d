"""Weakly supervised localisation by class activation maps (Zhou et al. 2016; CutMix, appendix B).

A map shows how much each position adds to a class' logit: for a last layer that is affine on averaged features, the
mean of the map plus the bias is the logit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError

NEIGHBOURS = np.ones((3, 3))  # diagonal ones too, as contours in OpenCV, which the authors' code for localisation uses

Rule = Literal["maximum", "minmax"]
RULES: tuple[Rule, ...] = ("maximum", "minmax")


@dataclass(frozen=True)
class Boxes:
    """Boxes int32 [N, 4] (x0, y0, x1, y1 in pixels, ends exclusive) of the predicted and of the right class."""

    predicted: np.ndarray
    true: np.ndarray


def activation_maps(maps: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """Return the class activation map sum_d w_cd A_d of one class for each image.

    Parameters
    ----------
    maps : Tensor [B, d, h, w]
        Last maps, whose mean over positions are the features.
    weight : Tensor [K, d]
        Of the affine last layer.
    classes : int64 Tensor [B]
        The class of each image.

    Returns
    -------
    Tensor [B, h, w]
    """
    return torch.einsum("bdhw,bd->bhw", maps, weight[classes])


def enlarge(maps: Tensor, size: int, rule: Rule) -> Tensor:
    """Return maps [B, h, w] at the size of the images, [B, size, size], as `boxes_of` thresholds them.

    "maximum": enlarged bilinearly. "minmax": enlarged bicubically, then scaled to [0, 1] by each map's own range; a
    constant map becomes 0.
    """
    if rule == "maximum":
        return functional.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    large = functional.interpolate(maps[:, None], size=(size, size), mode="bicubic", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    return (large - low) / (high - low).where(high > low, 1)


def boxes_of(maps: Tensor, size: int, threshold: float, rule: Rule = "maximum") -> np.ndarray:
    """Return the tight box of the largest connected region where a map is at least `threshold` times its maximum.

    Parameters
    ----------
    maps : Tensor [B, h, w]
        Class activation maps; enlarged by `enlarge` first.
    size : int
        Side of the images.
    threshold : float
        Share of a map's maximum; 0.15 in CutMix, appendix B.
    rule : {"maximum", "minmax"}
        "maximum" is the text of the CutMix paper (a share of the maximum of the map). "minmax" is what later code of
        the same authors does (Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right"): the
        share is one of the map's range, so that negative values matter.

    Returns
    -------
    int32 array [B, 4]
        x0, y0, x1, y1; ends exclusive. Pixels are connected to their eight neighbours; the largest region has the most
        pixels. A map without a positive value, after scaling, gives the box of the full image.
    """
    boxes = np.empty((len(maps), 4), np.int32)
    for row, values in enumerate(enlarge(maps, size, rule).cpu().numpy()):
        top = values.max()
        if top <= 0:
            boxes[row] = (0, 0, size, size)
            continue
        parts, _ = ndimage.label(values >= threshold * top, structure=NEIGHBOURS)
        largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1
        ys, xs = np.nonzero(parts == largest)
        boxes[row] = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    return boxes


@torch.no_grad()
def localise(
    model: nn.Module,
    batches: Callable[[], Iterable[Tensor]],
    predictions: Tensor,
    labels: Tensor,
    size: int,
    threshold: float,
) -> dict[Rule, Boxes]:
    """Return the boxes of a test set by each rule of `boxes_of`.

    A backbone that sees only the middle of the images (its attribute `crop`, the side in pixels) has maps of that part:
    they are thresholded as they are, and their boxes are moved into the frame of the whole image.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; with a backbone that has `maps`, and an affine last layer.
    batches : callable
        Returns an iterator over the normalised images.
    predictions, labels : int64 Tensor [N]
        Predicted and right classes.
    size : int
        Side of the images.
    threshold : float
        See `boxes_of`.

    Raises
    ------
    ReproodError
        When the model has no such maps.
    """
    head = model.linear_head()  # type: ignore[operator]
    backbone = getattr(model, "backbone", None)
    if head is None or not hasattr(backbone, "maps"):
        raise ReproodError(
            f"{type(model).__name__} has no class activation maps (no maps of the backbone, or no affine last layer); "
            "remove 'localisation' from the benchmark's evaluations."
        )
    boxes: dict[Rule, tuple[list[np.ndarray], list[np.ndarray]]] = {rule: ([], []) for rule in RULES}
    side = getattr(backbone, "crop", None) or size
    margin = (size - side) // 2
    start = 0

    def found(maps: Tensor, classes: Tensor, rule: Rule) -> np.ndarray:
        return boxes_of(activation_maps(maps, head[0], classes), side, threshold, rule) + np.int32(margin)

    for images in batches():
        maps = backbone.maps(images)  # type: ignore[union-attr]
        part = slice(start, start + len(maps))
        for rule, (predicted, true) in boxes.items():
            predicted.append(found(maps, predictions[part], rule))
            true.append(found(maps, labels[part], rule))
        start = part.stop
    return {rule: Boxes(np.concatenate(predicted), np.concatenate(true)) for rule, (predicted, true) in boxes.items()}
