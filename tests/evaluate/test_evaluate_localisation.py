"""Overlap of boxes against masks, and what localisation comes to."""

import numpy as np
import pandas as pd
import pytest

from reprood.core.errors import ReproodError
from reprood.evaluate.localisation import iou, localisation_outcomes

ENDS = ("x0", "y0", "x1", "y1")


def boxes(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    low = random.integers(0, 12, (count, 2))
    return np.concatenate([low, low + random.integers(0, 8, (count, 2))], axis=1)


def mask(box: np.ndarray) -> np.ndarray:
    found = np.zeros((20, 20), bool)
    found[box[1] : box[3], box[0] : box[2]] = True
    return found


def test_overlap_equals_that_of_masks() -> None:
    first, second = boxes(300, 0), boxes(300, 1)
    wanted = []
    for a, b in zip(map(mask, first), map(mask, second), strict=True):
        union = (a | b).sum()
        wanted.append((a & b).sum() / union if union else 0.0)
    np.testing.assert_allclose(iou(first, second), wanted)
    np.testing.assert_allclose(iou(second, first), wanted)


def table(*rows: tuple[int, list[int], list[int], list[int]]) -> pd.DataFrame:
    record = []
    for rank, true, predicted, known in rows:
        named = {"box": true, "cam": predicted, "cam_true": known}
        record.append(
            {
                "label_rank": rank,
                **{f"{n}_{end}": v for n, box in named.items() for end, v in zip(ENDS, box, strict=True)},
            }
        )
    return pd.DataFrame(record)


def test_outcomes_by_hand() -> None:
    true, half, far = [0, 0, 10, 10], [0, 0, 10, 5], [10, 10, 20, 20]
    found = localisation_outcomes(
        table((0, true, true, true), (1, true, true, true), (0, true, half, half), (2, true, far, true))
    )
    # wrong class; an overlap of exactly one half is not enough
    assert found["localisation_error"].tolist() == [0, 1, 1, 1]
    assert found["gt_localisation_error"].tolist() == [0, 0, 1, 0]
    assert found["mean_iou"].tolist() == [1, 1, 0.5, 1]


def test_boxes_of_normalised_maps_have_metrics_of_their_own() -> None:
    true, half, far = [0, 0, 10, 10], [0, 0, 10, 5], [10, 10, 20, 20]
    test = table((0, true, true, true), (0, true, half, far))
    for name, boxes in (("cam_minmax", [far, true]), ("cam_true_minmax", [true, half])):
        for place, end in enumerate(ENDS):
            test[f"{name}_{end}"] = [box[place] for box in boxes]
    outcomes = localisation_outcomes(test)
    assert outcomes["localisation_error"].tolist() == [0, 1]
    assert outcomes["localisation_error_minmax"].tolist() == [1, 0]
    assert outcomes["gt_localisation_error_minmax"].tolist() == [0, 1]
    assert set(outcomes) - set(localisation_outcomes(table((0, true, true, true)))) == {
        "localisation_error_minmax",
        "gt_localisation_error_minmax",
    }


def test_predictions_without_boxes() -> None:
    with pytest.raises(ReproodError, match="have no boxes box_x0"):
        localisation_outcomes(pd.DataFrame({"label_rank": [0]}))
