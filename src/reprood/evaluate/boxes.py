"""Average precision of detected boxes, by pycocotools: Pascal VOC's protocol of 2007, and COCO's. No torch.

T.-Y. Lin et al.: Microsoft COCO, ECCV 2014, arXiv 1405.0312; M. Everingham et al.: The PASCAL Visual Object Classes
Challenge, IJCV 2010.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprood.core.errors import ReproodError

MISSING = (
    "Average precision needs the package pycocotools, which is not installed; install it with "
    "pip install 'reprood[transfer]', or remove the study from the suite."
)
LIMIT = 100  # detections of an image and class that count in COCO's protocol


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image: the true ones, or detections.

    Attributes
    ----------
    boxes : array [n, 4]
        x0, y0, x1, y1 in pixels; the upper ends are exclusive.
    labels : int array [n]
        Class numbers, from 0.
    scores : array [n]
        Of detections; higher is more certain.
    difficult : bool array [n]
        Of true boxes: neither missing them nor finding them, once or more often, counts (Pascal VOC).
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    difficult: np.ndarray | None = None


def require_pycocotools() -> Any:
    """Return the module `pycocotools.cocoeval`.

    Raises
    ------
    ReproodError
        If it is not installed.
    """
    try:
        from pycocotools import cocoeval
    except ImportError as error:
        raise ReproodError(MISSING) from error
    return cocoeval


def average_precision(truth: Sequence[Boxes], found: Sequence[Boxes], classes: int) -> dict[str, float]:
    """Return mean average precisions over classes in percent.

    Returns
    -------
    dict
        voc_map: at an intersection over union of 0.5, mean of the precisions at recalls 0, 0.1, ..., 1, as Pascal VOC
        2007 computes it; every image's detections are matched as COCO does, which differs from VOC where two true boxes
        of a class overlap by half. coco_ap: mean over the thresholds 0.50, 0.55, ..., 0.95, at 101 recalls. Classes
        without a true box that counts are left out.

    Raises
    ------
    ReproodError
        If pycocotools is missing, or if no image has a true box that counts.
    """
    if len(truth) != len(found):
        raise ValueError(f"{len(truth)} images with true boxes and {len(found)} with detections")
    evaluation = require_pycocotools()
    if not any(len(one.labels) and not (one.difficult is not None and one.difficult.all()) for one in truth):
        raise ReproodError("Average precision: no image has a true box that counts; give it images with objects.")
    voc = _precision(evaluation, truth, found, classes, np.array([0.5]), np.linspace(0, 1, 11))
    coco = _precision(evaluation, truth, found, classes, np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101))
    return {"voc_map": 100 * voc, "coco_ap": 100 * coco}


def _precision(
    evaluation: Any,
    truth: Sequence[Boxes],
    found: Sequence[Boxes],
    classes: int,
    overlaps: np.ndarray,
    recalls: np.ndarray,
) -> float:
    """Return the precision at `recalls`, averaged over them, the overlaps, and the classes that have a true box."""

    class Evaluation(evaluation.COCOeval):  # type: ignore[misc]
        """COCO's evaluation, except that difficult boxes are ignored, with plain overlaps (those of crowds differ)."""

        def _prepare(self) -> None:
            super()._prepare()
            for group in self._gts.values():
                for box in group:
                    box["ignore"] = box["difficult"]

        def computeIoU(self, image: int, category: int) -> Any:
            overlap = super().computeIoU(image, category)  # plain, because iscrowd is still 0
            for box in self._gts[image, category]:
                box["iscrowd"] = box["difficult"]  # COCO matches crowds alone with more than one detection
            return overlap

    with contextlib.redirect_stdout(io.StringIO()):
        real = _dataset(truth, classes)
        detections = _dataset(found, classes)
        run = Evaluation(real, detections, iouType="bbox")
        run.params.iouThrs, run.params.recThrs = overlaps, recalls
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [LIMIT]
        run.evaluate()
        run.accumulate()
    values = np.asarray(run.eval["precision"])  # [overlaps, recalls, classes, 1, 1]; -1 where a class has no true box
    return float(values[values > -1].mean())


def _dataset(images: Sequence[Boxes], classes: int) -> Any:
    """Return boxes as a COCO data set."""
    from pycocotools.coco import COCO

    rows: list[dict[str, Any]] = []
    for number, one in enumerate(images):
        difficult = np.zeros(len(one.labels), bool) if one.difficult is None else one.difficult
        scores = np.ones(len(one.labels)) if one.scores is None else one.scores
        for (x0, y0, x1, y1), label, score, hard in zip(one.boxes, one.labels, scores, difficult, strict=True):
            width, height = float(x1 - x0), float(y1 - y0)
            rows.append(
                {
                    "id": len(rows) + 1, "image_id": number, "category_id": int(label), "score": float(score),
                    "bbox": [float(x0), float(y0), width, height], "area": width * height,
                    "iscrowd": 0, "difficult": int(hard),
                }
            )  # fmt: skip
    data = COCO()
    data.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": rows,
    }
    data.createIndex()
    return data
