"""GOAD: transformations against numpy, loss and score against plain loops."""

import numpy as np
import pytest
import torch

from reprood.methods import goad


def test_transformations_are_those_of_the_code() -> None:
    """Mirrored left-right, moved by +-8 of 32 pixels with mirrored borders, then turned counter-clockwise."""
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    assert len(goad.CODES) == len(set(goad.CODES)) == 72
    assert torch.equal(goad.transformed(images, 0, 0.25), images)
    for number, (mirrored, right, down, turns) in enumerate(goad.CODES):
        shown = images.numpy()[..., ::-1] if mirrored else images.numpy()
        padded = np.pad(shown, ((0, 0), (0, 0), (8, 8), (8, 8)), mode="reflect")
        moved = padded[:, :, 8 - 8 * down : 40 - 8 * down, 8 - 8 * right : 40 - 8 * right]
        expected = np.rot90(moved, turns, (2, 3))
        np.testing.assert_array_equal(goad.transformed(images, number, 0.25).numpy(), expected)
    every = goad.every_transformation(images, 0.25)
    assert torch.equal(every[2 * 5 : 2 * 6], goad.transformed(images, 5, 0.25))


def test_loss_and_score_by_loops() -> None:
    features = torch.randn((5, 4, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centres = features.mean(1)
    terms, sums = [], [0.0] * 4
    for m in range(5):
        for b in range(4):
            squared = [float((features[m, b] - centres[k]).square().sum()) for k in range(5)]
            terms.append(max(0.0, squared[m] + 1.0 - min(squared[k] for k in range(5) if k != m)))
            weights = np.exp(-np.array(squared))
            sums[b] += float(np.log(weights[m] / weights.sum()))
    assert float(goad.centre_loss(features, 1.0)) == pytest.approx(np.mean(terms))
    assert goad.log_probabilities(features, centres, 0.0).tolist() == pytest.approx(sums)
