"""ReAct: clip the penultimate activations from above, then the energy score (Sun, Guo, Li 2021)."""

import math

import numpy as np
import torch
from torch import Tensor

from reprood.detectors.logits import energy

ROWS = 2**14  # held in float64 at once


def threshold(features: Tensor, percentile: float = 90.0) -> float:
    """The percentile (linear interpolation) of all entries of ID validation features [N, d]; percentile in [0, 100].

    In float64, as `numpy.percentile` has it, but without a float64 copy of all entries.
    """
    entries = features.detach().cpu().numpy().reshape(-1)
    place = (len(entries) - 1) * (percentile / 100)
    below = math.floor(place)
    above = min(below + 1, len(entries) - 1)
    low, high = np.partition(entries, (below, above))[[below, above]].astype(np.float64)
    step, part = high - low, place - below
    return float(high - step * (1 - part) if part >= 0.5 else low + step * part)


def score(features: Tensor, weight: Tensor, bias: Tensor, limit: float) -> Tensor:
    """Energy of W min(z, limit) + b; [N, d] -> [N] float64. With an infinite limit it is the energy score."""
    heads = weight.double().T, bias.double()
    found = [energy(part.double().clamp(max=limit) @ heads[0] + heads[1]) for part in torch.split(features, ROWS)]
    return torch.cat(found)
