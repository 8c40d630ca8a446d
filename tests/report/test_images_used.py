"""How many images a verdict is based on: of one member, and whether replicates share them."""

import math
from types import SimpleNamespace

import pytest

from reprood.report.images_used import images_used

BRICKS = [{"as": "test", "count": 200}, {"as": "scratch", "count": 50}]


@pytest.mark.parametrize(
    ("metric", "n", "n_ood", "members", "words"),
    [
        ("top1_error", 10000, 0, 0, "10,000 ID test images, the same in every replicate"),
        ("auroc", 2500, 4500, 5, "5 × 500 ID test images and 5 × 900 OOD images (one set for each member)"),
        ("auroc", 1000, 1800, 2, "2 × 500 ID test images and 2 × 900 OOD images (one set for each member)"),
        ("pixel_auroc", 400, 0, 0, "200 good and 200 defective images, the same in every replicate"),
        ("auroc", 501, 7, 2, "501 ID test images and 7 OOD images"),
        ("auroc", math.nan, math.nan, 5, ""),
    ],
)
def test_images_are_counted_once(metric, n, n_ood, members, words):
    row = {"metric": metric, "split": "test", "n": n, "n_ood": n_ood, "n_seeds": 5}
    item = {"members": members, "record": SimpleNamespace(replicate=None), "data": BRICKS}
    assert images_used(row, item) == words
    assert images_used(row, None) == ""


def test_a_claim_on_every_member_counts_those_of_the_member_that_decides():
    row = {"metric": "auroc", "split": "mean_all", "n": 500, "n_ood": 900, "n_seeds": 4}
    item = {"members": 5, "record": SimpleNamespace(replicate=None), "data": []}
    assert images_used(row, item, one_member=True) == (
        "500 ID test images and 900 OOD images (of the member that decides)"
    )


def test_misclassification_counts_predictions_and_no_ood_images():
    row = {"metric": "auroc", "split": "errors", "n": 930, "n_ood": 70, "n_seeds": 3}
    drawn = {"members": 20, "record": SimpleNamespace(replicate=0), "data": []}
    assert images_used({**row, "n": 103_491, "n_ood": 16_509, "n_seeds": 20}, drawn) == (
        "20 × about 5,175 right and 20 × 825 wrong predictions (mean over runs) on test images (one selection for each "
        "member)"
    )
    item = {"members": 0, "record": SimpleNamespace(replicate=None), "data": []}
    assert images_used(row, item) == (
        "about 930 right and 70 wrong predictions (mean over runs) on test images, the same in every replicate"
    )
