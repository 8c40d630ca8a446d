"""One forward pass over a split: logits and penultimate features."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split
from reprood.images.augment import normalise


@dataclass(frozen=True)
class Stored:
    """What one forward pass over a split gives.

    Attributes
    ----------
    logits : Tensor [N, C]
    features : Tensor [N, d] or None
        Penultimate features; None when they are not kept.
    batches : callable or None
        Returns a fresh iterator over the split's normalised images per call; None without images.
    """

    logits: Tensor
    features: Tensor | None = None
    batches: Callable[[], Iterable[Tensor]] | None = None


def image_batches(
    split: Split, meta: Mapping[str, Any], device: torch.device, batch_size: int
) -> Callable[[], Iterator[Tensor]]:
    """Return a function that iterates over a split as normalised float32 batches [B, C, H, W] on the device."""

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(split), batch_size):
            part = np.array(np.moveaxis(split.images[start : start + batch_size], 3, 1), order="C")
            images = normalise(torch.from_numpy(part).to(device), meta["mean"], meta["std"])
            yield images.contiguous(memory_format=torch.channels_last)

    return batches


@torch.no_grad()
def forward_pass(
    model: nn.Module,
    head: tuple[Tensor, Tensor] | None,
    batches: Callable[[], Iterator[Tensor]],
    *,
    keep_features: bool = True,
) -> Stored:
    """Compute logits and features of a split.

    The backbone runs once where logits follow from features: by an affine last layer, or by the network's method
    `logits_of`. Otherwise the network computes the logits, and the features only if they are kept.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, with a method `features`.
    head : (Tensor [C, d], Tensor [C]) or None
        Weight and bias of an affine last layer.
    batches : callable
        Returns an iterator over normalised images.
    keep_features : bool
        Keep the features [N, d] of all images in memory.

    Raises
    ------
    ReproodError
        When the affine layer or `logits_of` does not give the network's logits, or a logit is not finite.
    """
    logits, features = [], []
    decide = (
        getattr(model, "logits_of", None) if head is None else partial(functional.linear, weight=head[0], bias=head[1])
    )
    for number, images in enumerate(batches()):
        penultimate: Tensor = model.features(images) if keep_features or decide else images[:0]  # type: ignore[operator]
        answer: Tensor = model(images) if decide is None else decide(penultimate)
        if decide is not None and number == 0 and not torch.allclose(answer, model(images), rtol=1e-3, atol=1e-3):
            raise ReproodError(
                f"{type(model).__name__}.linear_head() or logits_of() does not give the network's logits; correct it, "
                "return None or remove it."
            )
        logits.append(answer)
        if keep_features:
            features.append(penultimate)
    stored = Stored(torch.cat(logits), torch.cat(features) if keep_features else None, batches)
    if not bool(torch.isfinite(stored.logits).all()):
        raise ReproodError("The network's logits are not finite; the training has diverged, train it again.")
    return stored


def label_ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many classes come before the right one; int32 [N].

    Parameters
    ----------
    logits : Tensor [N, C]
        One row per sample.
    labels : int64 Tensor [N]
        0 .. C - 1, or -1 for an image without a label.

    Returns
    -------
    int32 Tensor [N]
        0 = top-1 right; -1 where the label is -1. Ties go to the lower class number, as in argmax.
    """
    right = labels.clamp(min=0)[:, None]
    own = logits.gather(1, right)
    earlier = torch.arange(logits.shape[1], device=logits.device) < right
    before = ((logits > own) | ((logits == own) & earlier)).sum(dim=1)
    return torch.where(labels >= 0, before, -1).to(torch.int32)
