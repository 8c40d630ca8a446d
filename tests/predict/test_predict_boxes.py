"""True boxes as columns: rounded to the nearest pixel, the best of several, images without one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split, load_split, save_split
from reprood.evaluate.localisation import localisation_outcomes
from reprood.evaluate.table import localisation_rows
from reprood.predict.boxes import box_columns, true_boxes

SQUARE, FAR, NONE = [2, 2, 6, 6], [8, 8, 16, 16], [-1, -1, -1, -1]


def split(folder: Path, boxes: list, every: list | None = None) -> Split:
    extras = {"boxes": np.array(boxes, np.float32)}
    if every is not None:
        extras["all_boxes"] = np.array(every, np.float32)
    save_split(folder, np.zeros((len(boxes), 16, 16, 1), np.uint8), np.zeros(len(boxes), int), extras, {})
    return load_split(folder)


def test_fractional_ends_are_rounded_to_the_nearest_pixel(tmp_path: Path) -> None:
    columns = box_columns(true_boxes(split(tmp_path, [[2.6, 3.4, 7.9, 9.2]])), {"cam": np.array([SQUARE], np.int32)})
    assert [int(columns[f"box_{end}"][0]) for end in ("x0", "y0", "x1", "y1")] == [3, 3, 8, 9]
    assert {values.dtype for values in columns.values()} == {np.dtype(np.int32)}
    assert "iou_cam" not in columns


def test_finding_one_of_several_objects_is_enough_and_images_without_one_are_left_out(tmp_path: Path) -> None:
    every = [[FAR, SQUARE], [FAR, NONE], [NONE, NONE], [[2, 2, 6, 10], FAR]]
    true = true_boxes(split(tmp_path, [boxes[0] for boxes in every], every))
    found = {name: np.array([SQUARE] * 4, np.int32) for name in ("cam", "cam_true")}
    columns = box_columns(true, found)
    assert columns["iou_cam"].tolist() == [1, 0, 0, 0.5]
    test = pd.DataFrame({"label_rank": [0, 0, 0, 0], **columns})
    outcomes = localisation_outcomes(test)
    assert outcomes["localisation_error"].tolist() == [0, 1, 1]  # one half is not above one half
    assert outcomes["mean_iou"].tolist() == [1, 0, 0.5]
    rows = {row["metric"]: row for row in localisation_rows(test)}
    assert rows["localisation_error"]["value"] == pytest.approx(200 / 3)
    assert rows["mean_iou"]["value"] == pytest.approx(0.5)
    assert 3 in rows["mean_iou"].values()  # images that count
    with pytest.raises(ReproodError, match="No test image has a true box"):
        localisation_outcomes(test[2:3])
