"""From CutPaste's network to scores and maps: features of images or windows, densities, Grad-CAM."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from reprood.images.rotations import rotated_batch
from reprood.methods.cutpaste.density import Density, distance
from reprood.methods.cutpaste.net import CutPaste
from reprood.methods.cutpaste.patches import all_corners, window_places, windows_at
from reprood.methods.cutpaste.settings import Config

WINDOWS = 2048  # in memory at a time
FORWARD = 512


def windows_features(model: CutPaste, images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Return features [B, M, d] of windows of images [B, C, H, W] with corners [B, M]."""
    cut = windows_at(images, top, left, side)
    parts = [model.features(part) for part in torch.split(cut.flatten(0, 1), FORWARD)]
    return torch.cat(parts).view(*cut.shape[:2], -1)


def in_groups(images: Tensor, places: int) -> Iterator[Tensor]:
    """Yield a few images at a time, so that the `places` windows of each fit into memory."""
    yield from torch.split(images, max(1, WINDOWS // places))


def training_features(model: CutPaste, batches: Iterable[Tensor], config: Config, generator: Generator) -> Tensor:
    """Return features of images or windows in the shape that the densities take.

    Parameters
    ----------
    model : CutPaste
        Trained, in evaluation mode.
    batches : iterable of Tensor [B, C, H, H]
        Normalised training images, not augmented.
    config : Config
        Settings of the method.
    generator : Generator
        Chooses the windows of a shared density.

    Returns
    -------
    Tensor [N, d]; or [L, N, d] for one density per position of the windows

    Raises
    ------
    ReproodError
        If windows do not tile the images.
    """
    parts = []
    for batch in batches:
        if not config.crop:
            parts.append(model.features(batch))
            continue
        top, left = all_corners(batch.shape[2], config.crop, config.stride, batch.device)
        sampled = config.positions == "shared" and 0 < config.windows < len(top)
        for images in in_groups(batch, config.windows if sampled else len(top)):
            chosen = torch.arange(len(top)).expand(len(images), -1)
            if sampled:
                chosen = torch.rand((len(images), len(top)), generator=generator).argsort(1)[:, : config.windows]
            chosen = chosen.to(batch.device)
            parts.append(windows_features(model, images, top[chosen], left[chosen], config.crop))
    features = torch.cat(parts)
    if not config.crop:
        return features
    return features.transpose(0, 1) if config.positions == "each" else features.flatten(0, 1)


def window_distances(
    model: CutPaste, images: Tensor, config: Config, fitted: Mapping[str, Any], kinds: tuple[Density, ...]
) -> dict[Density, Tensor]:
    """Return the distance of every window of images [B, C, H, H], float64 [B, h, w], for each density."""
    along = window_places(images.shape[2], config.crop, config.stride)
    top, left = all_corners(images.shape[2], config.crop, config.stride, images.device)
    parts: dict[Density, list[Tensor]] = {kind: [] for kind in kinds}
    for some in in_groups(images, len(top)):
        rows, columns = (line.expand(len(some), -1) for line in (top, left))
        features = windows_features(model, some, rows, columns, config.crop)
        for kind in kinds:
            parts[kind].append(distance(kind, features, fitted).view(-1, along, along))
    return {kind: torch.cat(distances) for kind, distances in parts.items()}


def log_odds_normal(logits: Tensor) -> Tensor:
    """Return the logarithm of p(normal) / p(anything else) from logits [B, n], float64 [B].

    Examples
    --------
    >>> log_odds_normal(torch.tensor([[3.0, 1.0]]))
    tensor([2.], dtype=torch.float64)
    """
    logits = logits.double()
    return logits[:, 0] - logits[:, 1:].logsumexp(1)


def proxy_score(model: CutPaste, images: Tensor, config: Config) -> Tensor:
    """Return the score of the proxy classifier itself, float64 [B], higher = more normal.

    The log-odds of "normal"; for rotations the sum over the four rotations of the probability of the right one.
    """
    if config.proxy == "rotation":
        shown, turns = rotated_batch(images)
        logits: Tensor = model.proxy_logits(shown)
        return logits.double().softmax(1).gather(1, turns[:, None]).view(4, -1).sum(0)
    return log_odds_normal(model.proxy_logits(images))


def grad_cam(maps: Tensor, anomaly: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """Return Grad-CAM (Selvaraju et al. 2017): where the maps raise a number that depends on their means.

    Parameters
    ----------
    maps : Tensor [B, d, h, w]
        Last maps of the backbone.
    anomaly : callable
        Means over positions [B, d] -> Tensor [B].
    size : int
        Side of the images.

    Returns
    -------
    Tensor [B, size, size]
        ReLU of the sum of the maps, each weighted by the mean over positions of its gradient; enlarged bilinearly.
    """
    with torch.enable_grad():
        pooled = maps.mean((2, 3)).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(anomaly(pooled).sum(), pooled)
    weights = gradient / math.prod(maps.shape[2:])
    raised = torch.relu(torch.einsum("bd,bdhw->bhw", weights, maps))
    return functional.interpolate(raised[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
