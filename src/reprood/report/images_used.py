"""How many images a verdict is based on, in words."""

from collections.abc import Mapping
from typing import Any

from reprood.audit.claims import SEGMENTATION
from reprood.evaluate.misclassification import ERRORS
from reprood.report import labels


def images_used(row: Mapping[Any, Any], item: Mapping[str, Any] | None, *, one_member: bool = False) -> str:
    """State the test images behind a verdict, those of one member if there are several; empty for a study.

    Parameters
    ----------
    row : mapping
        A verdict; its counts are sums over the members that were used.
    item : mapping or None
        The record of the benchmark's page.
    one_member : bool
        Whether the counts are those of one member: claims on every member state the one that decides.

    Examples
    --------
    >>> class Drawn:
    ...     replicate = 0
    >>> row = {"metric": "auroc", "split": "mean_all", "n": 20000, "n_ood": 27500, "n_seeds": 5}
    >>> images_used(row, {"members": 5, "record": Drawn(), "data": []})
    '5 × 4,000 ID test images and 5 × 5,500 OOD images (one selection for each member)'
    """
    if item is None:
        return ""
    parts = 1 if one_member else max(1, min(int(item["members"]), int(row["n_seeds"])))
    errors = row["split"] == ERRORS  # whose counts are means over runs
    if not errors and (row["n"] % parts or (row["n_ood"] == row["n_ood"] and row["n_ood"] % parts)):
        parts = 1
    inside, outside = (0 if total != total else round(total / parts) for total in (row["n"], row["n_ood"]))
    if row["metric"] in SEGMENTATION:
        good = next((int(one["count"]) for one in item["data"] if one["as"] == "test"), inside)
        found = [f"{good:,} good", f"{inside - good:,} defective images"]
    elif errors:
        found = [f"about {inside:,} right", f"{outside:,} wrong predictions (mean over runs) on test images"]
    else:
        found = [labels.count(inside, "ID test image"), labels.count(outside, "OOD image")]
    times = f"{parts} × " if parts > 1 else ""
    text = " and ".join(times + one for one in found if one)
    if text and one_member:
        return f"{text} (of the member that decides)"
    if not text or parts == 1:
        return f"{text}, the same in every replicate" if text and row["n_seeds"] > 1 and not item["members"] else text
    drawn = "selection" if item["record"].replicate is not None else "set"
    return f"{text} (one {drawn} for each member)"
