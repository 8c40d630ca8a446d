"""Forward passes on perturbed images, which detectors request because they need gradients.

A request is a mapping with a `kind`, made by a detector's `passes` function; this module knows the kinds, not the
detectors. What is stored are the outputs for the perturbed images (logits, or one score), so that the detector itself
needs neither network nor torch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.predict.feature_step import ClassGaussians, signs, stepped_scores

Network = Callable[[Tensor], Tensor]
KINDS = ("odin", "mahalanobis")


def step_direction(network: Network, images: Tensor, temperature: float) -> Tensor:
    """Return sign(dL/dx) with L = CE(l(x) / T, argmax l(x)); moving against it raises the confidence.

    Parameters
    ----------
    network : callable
        Normalised images [B, C, H, W] -> logits [B, K]; in evaluation mode, so that images are independent.
    images : Tensor [B, C, H, W]
        Normalised images.
    temperature : float
        T of the softmax.

    Returns
    -------
    Tensor [B, C, H, W]
        +1 or -1.
    """
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        # In float64 from the logits on: at T = 1000 the gradient is about 1/1000 of an ordinary one.
        logits = network(leaf).double() / temperature
        loss = functional.cross_entropy(logits, logits.detach().argmax(dim=1), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
    return signs(gradient)


def perturb(
    network: Network, images: Tensor, std: Tensor, temperature: float, epsilons: Sequence[float]
) -> list[Tensor]:
    """Move images by each step size towards a higher confidence (ODIN, equation 2).

    x' = x - epsilon * sign(dL/dx) / std with L = CE(l(x) / T, argmax l(x)); no clipping. All step sizes share one
    gradient.

    Parameters
    ----------
    network, images, temperature
        As in `step_direction`.
    std : Tensor [C]
        The channel standard deviations of the in-distribution normalisation (also for OOD images).
    epsilons : sequence of float
        Sizes of the step in units of [0, 1] pixels.

    Returns
    -------
    list of Tensor [B, C, H, W]
        One per step size; `images` itself for 0.
    """
    if not any(epsilons):
        return [images for _ in epsilons]
    direction = step_direction(network, images, temperature)
    scale = std.to(images).view(1, -1, 1, 1)
    return [images - epsilon * direction / scale if epsilon else images for epsilon in epsilons]


def needs_gaussians(requests: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a requested pass follows the Mahalanobis distance of features."""
    return any(request.get("kind") == "mahalanobis" for request in requests)


def run_passes(
    network: Network,
    batches: Iterable[Tensor],
    std: Tensor,
    requests: Mapping[str, Mapping[str, Any]],
    gaussians: ClassGaussians | None = None,
) -> dict[str, Tensor]:
    """Compute the outputs of every requested pass over a split.

    Parameters
    ----------
    network, std
        As in `perturb`.
    batches : iterable of Tensor [B, C, H, W]
        The split's normalised images.
    requests : mapping
        Name of a pass -> {"kind": "odin", "temperature": float, "epsilon": float} or {"kind": "mahalanobis", "epsilon":
        float}.
    gaussians : ClassGaussians, optional
        Of the training features, for the kind "mahalanobis"; the network then has a method `features`.

    Returns
    -------
    dict
        Name of a pass -> logits [N, K], or for "mahalanobis" scores [N, 1].

    Raises
    ------
    ReproodError
        For a kind that does not exist, or without the Gaussians that a kind needs.
    """
    unknown = sorted({str(request.get("kind")) for request in requests.values()} - set(KINDS))
    if unknown:
        raise ReproodError(f"There is no forward pass of kind '{unknown[0]}'; known: {', '.join(KINDS)}.")
    distances = {name: float(request["epsilon"]) for name, request in requests.items() if needs_gaussians([request])}
    if distances and gaussians is None:
        raise ReproodError("The pass of the Mahalanobis distance needs features of the training split; request them.")
    groups: dict[float, list[str]] = {}  # passes with the same temperature share a gradient
    for name, request in requests.items():
        if name not in distances:
            groups.setdefault(float(request["temperature"]), []).append(name)
    logits: dict[str, list[Tensor]] = {name: [] for name in requests}
    for images in batches:
        for temperature, names in groups.items():
            sizes = [float(requests[name]["epsilon"]) for name in names]
            for name, moved in zip(names, perturb(network, images, std, temperature, sizes), strict=True):
                with torch.no_grad():
                    logits[name].append(network(moved))
        if gaussians is not None and distances:
            found = stepped_scores(network.features, [images], std, gaussians, list(distances.values()))  # type: ignore[attr-defined]
            for name, scores in zip(distances, found, strict=True):
                logits[name].append(scores)
    return {name: torch.cat(parts) for name, parts in logits.items()}
