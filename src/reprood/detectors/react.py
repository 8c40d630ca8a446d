"""ReAct: clip the penultimate activations from above, then the energy score (Sun, Guo, Li 2021)."""

import numpy as np
from torch import Tensor

from reprood.detectors.logits import energy


def threshold(features: Tensor, percentile: float = 90.0) -> float:
    """The percentile (linear interpolation) of all entries of ID validation features [N, d]; percentile in [0, 100]."""
    return float(np.percentile(features.detach().cpu().double().numpy(), percentile))


def score(features: Tensor, weight: Tensor, bias: Tensor, limit: float) -> Tensor:
    """Energy of W min(z, limit) + b; [N, d] -> [N] float64. With an infinite limit it is the energy score."""
    return energy(features.double().clamp(max=limit) @ weight.double().T + bias.double())
