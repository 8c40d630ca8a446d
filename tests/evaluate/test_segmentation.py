"""Pixel AUROC and per-region overlap: reference values, loops over thresholds and regions, ties, bad input."""

from collections.abc import Iterator

import numpy as np
import pytest
from golden_files import load
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from reprood.core.errors import ReproodError
from reprood.evaluate import segmentation
from reprood.evaluate.segmentation import area_below, au_pro, pixel_auroc, pro_curve, regions


def cases() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    arrays = load("cutpaste", "localisation_metrics")
    for case in range(int(arrays["n_cases"])):
        found = {key.removeprefix(f"c{case}_"): value for key, value in arrays.items() if key.startswith(f"c{case}_")}
        yield found, found["anomaly_maps"], found["ground_truth"] > 0


@pytest.mark.golden
def test_reference() -> None:
    for case, maps, masks in cases():
        assert regions(masks)[1] == int(case["n_regions"])
        assert pixel_auroc(maps, masks) == pytest.approx(float(case["pixel_auroc"]), abs=1e-9)
        assert au_pro(maps, masks) == pytest.approx(float(case["aupro_limit030_all_thresholds"]), abs=1e-9)
        assert au_pro(maps, masks, 0.05) == pytest.approx(float(case["aupro_limit005_all_thresholds"]), abs=1e-9)
        some = au_pro(maps, masks, thresholds=len(case["pro_curve_fpr"]) - 1)
        assert some == pytest.approx(float(case["aupro_limit030_100_thresholds"]), abs=1e-9)
        rates, overlaps = pro_curve(maps, masks, len(case["pro_curve_fpr"]) - 1)
        np.testing.assert_allclose(rates, case["pro_curve_fpr"], atol=1e-9)
        np.testing.assert_allclose(overlaps, case["pro_curve_pro"], atol=1e-9)
        np.testing.assert_array_equal(maps.max((1, 2)), case["image_score_max"])


def picture(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.normal(size=(4, 20, 14)), (0, 1.5, 1.5)) > 0.22
    masks[3] = False
    maps = rng.normal(size=masks.shape) + masks
    return (np.round(maps * 2) if ties else maps), masks


def by_hand(maps: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threshold by threshold, image by image, region by region."""
    parts = []
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        parts += [maps[i][labels == k] for k in range(1, count + 1)]
    points = [(1.0, 1.0)]
    for threshold in np.unique(maps[~masks]):
        points.append(((maps[~masks] > threshold).mean(), np.mean([(p > threshold).mean() for p in parts])))
    return tuple(np.array(points[::-1]).T)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_loop(seed: int, ties: bool) -> None:
    maps, masks = picture(seed, ties)
    rates, overlaps = pro_curve(maps, masks)
    expected = by_hand(maps, masks)
    np.testing.assert_allclose(rates, expected[0], atol=1e-12)
    np.testing.assert_allclose(overlaps, expected[1], atol=1e-12)
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)
    grid = np.linspace(0, 0.3, 200001)
    area = np.trapezoid(np.interp(grid, *expected), grid) / 0.3
    assert au_pro(maps, masks) == pytest.approx(area, abs=2e-4)


@pytest.mark.parametrize("ties", [False, True])
def test_few_thresholds_lie_on_the_curve(ties: bool) -> None:
    maps, masks = picture(1, ties)
    whole = set(zip(*(values.round(12) for values in pro_curve(maps, masks))))
    assert set(zip(*(values.round(12) for values in pro_curve(maps, masks, 17)))) <= whole


def test_what_does_not_change_them() -> None:
    maps, masks = picture(2)
    levels = np.searchsorted(np.unique(maps), maps).astype(np.uint16)
    same = [(np.exp(maps), masks), (3 * maps - 7, masks), (levels, masks)]
    same += [(maps[:, ::-1], masks[:, ::-1]), (maps[[2, 0, 3, 1]], masks[[2, 0, 3, 1]])]
    for metric in (pixel_auroc, au_pro):
        for values, marked in same:
            assert metric(values, marked) == pytest.approx(metric(maps, masks), abs=1e-12)


def test_small_regions_weigh_as_much_as_large_ones() -> None:
    masks = np.zeros((1, 20, 20), bool)
    masks[0, 2:12, 2:12], masks[0, 16, 16] = True, True
    maps = np.zeros(masks.shape)
    maps[0, 2:12, 2:12] = 1.0
    assert au_pro(maps, masks) == pytest.approx((0.5 + 0.5 + 0.3 * 0.5) / 2, abs=1e-9)
    maps[0, 16, 16] = 1.0
    assert au_pro(maps, masks) == pytest.approx(1, abs=1e-9)
    assert pixel_auroc(maps, masks) == 1


def test_regions_touch_at_corners_and_not_across_images() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[1, 1, 1] = masks[1, 3, 3] = masks[2, 1, 1] = True
    assert regions(masks)[1] == 4


def test_area() -> None:
    assert area_below(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.3) == pytest.approx(0.15)
    assert area_below(np.array([0.0, 0.2, 1.0]), np.array([0.5, 1.0, 1.0]), 0.2) == pytest.approx(0.75)
    with pytest.raises(ReproodError, match="rate in"):
        area_below(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.0)


@pytest.mark.parametrize("metric", [pixel_auroc, au_pro])
def test_bad_input(metric) -> None:
    maps, masks = picture(0)
    with pytest.raises(ReproodError, match="expected \\[N, H, W\\] twice"):
        metric(maps[0], masks[0])
    with pytest.raises(ReproodError, match="type uint8"):
        metric(maps, masks.astype(np.uint8))
    with pytest.raises(ReproodError, match="one kind only"):
        metric(maps, np.zeros_like(masks))
    with pytest.raises(ReproodError, match="one kind only"):
        metric(maps, np.ones_like(masks))
    maps[0, 0, 0] = np.nan
    with pytest.raises(ReproodError, match="not finite"):
        metric(maps, masks)


def test_the_limit_is_the_usual_one() -> None:
    assert segmentation.LIMIT == 0.3
