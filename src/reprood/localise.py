"""Weakly supervised localisation by class activation maps (Zhou et al. 2016; CutMix, appendix B)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from reprood.errors import ReproodError

THRESHOLD = 0.15


@dataclass(frozen=True)
class Boxes:
    """Boxes int [N, 4] (x0, y0, x1, y1; ends exclusive) of the predicted and of the right class."""

    predicted: np.ndarray
    true: np.ndarray


@torch.no_grad()
def localise(
    model: nn.Module, batches: Callable[[], Iterable[Tensor]], predictions: Tensor, labels: Tensor, size: int
) -> Boxes:
    """Boxes of the class activation maps."""
    head = model.linear_head()  # type: ignore[operator]
    backbone = getattr(model, "backbone", None)
    if head is None or not hasattr(backbone, "maps"):
        raise ReproodError(f"{type(model).__name__} has no class activation maps; leave 'localisation' out.")
    found: list[list[np.ndarray]] = [[], []]
    start = 0
    for images in batches():
        maps = backbone.maps(images)  # type: ignore[union-attr]
        stop = start + len(maps)
        for boxes, classes in zip(found, (predictions[start:stop], labels[start:stop]), strict=True):
            activation = torch.einsum("bdhw,bd->bhw", maps, head[0][classes])
            large = functional.interpolate(activation[:, None], size=(size, size), mode="bilinear")[:, 0]
            boxes.append(boxes_of(large.cpu().numpy()))
        start = stop
    return Boxes(np.concatenate(found[0]), np.concatenate(found[1]))


def boxes_of(maps: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Tight box of the largest connected component above `threshold` times the maximum; int32 [N, 4]."""
    boxes = np.empty((len(maps), 4), np.int32)
    for row, values in enumerate(maps):
        top = values.max()
        if top <= 0:
            boxes[row] = (0, 0, values.shape[1], values.shape[0])
            continue
        parts, _ = ndimage.label(values > threshold * top)
        largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1
        ys, xs = np.nonzero(parts == largest)
        boxes[row] = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    return boxes
