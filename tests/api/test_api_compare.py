"""`reprood.compare`: verdicts, what the interval covers, pairing."""

import numpy as np
import pytest

import reprood
from reprood.api.comparison import verdict
from reprood.core.errors import ReproodError


def outputs(signal, seed=0):
    draw = np.random.default_rng(0)
    labels, noise, far = draw.integers(0, 5, 300), draw.normal(size=(300, 5)), draw.normal(size=(300, 5))
    more = 0.3 * np.random.default_rng(seed + 1).normal(size=(300, 5))
    return {"id": signal * np.eye(5)[labels] + noise + more, "ood": {"far": far}}


@pytest.mark.parametrize(
    ("difference", "metric", "p", "p_smaller", "expected"),
    [
        (0.02, "auroc", 0.01, 1.0, "better"),
        (0.02, "fpr95_id_positive", 0.01, 1.0, "worse"),
        (0.02, "auroc", 0.06, 1.0, "open"),
        (0.01, "auroc", 0.01, 0.05, "smaller than relevant"),
        (-0.02, "detection_error", 0.05, 0.06, "better"),
    ],
)
def test_verdicts(difference, metric, p, p_smaller, expected):
    assert verdict(difference, metric, p, p_smaller, 0.95) == expected


def test_verdicts_are_corrected_for_the_number_of_rows():
    sides, detectors = (outputs(1.2), outputs(1.0)), ("msp", "energy")
    alone = [reprood.compare(*sides, detectors=[name]).loc[0] for name in detectors]
    for row in alone:
        assert (row["p_holm"] < 0.05) == (row["low"] > 0 or row["high"] < 0)
    low, high = sorted(row["p_holm"] for row in alone)
    both = reprood.compare(*sides, detectors=detectors)["p_holm"]
    assert sorted(both) == pytest.approx([min(1, 2 * low), max(min(1, 2 * low), high)])


def test_perfect_separation_has_an_interval():
    far = {"id": 20 * np.eye(5)[np.arange(60) % 5], "ood": {"far": np.zeros((40, 5))}}
    table = reprood.score(id=far["id"], ood=far["ood"], detectors=["msp"]).loc[0]
    assert (table["auroc"], table["auroc_high"]) == (1.0, 1.0)
    assert table["auroc_low"] == pytest.approx(0.025 ** (1 / 40))  # Clopper-Pearson, 40 of 40 pairs
    assert table["fpr95_ood_positive_high"] == pytest.approx(1 - 0.025 ** (1 / 60))
    assert np.isnan(table["aupr_in_low"])
    same = reprood.compare(far, far, relevant=1).loc[0]
    assert (same["difference"], same["verdict"]) == (0, "open")  # 40 pairs do not show a difference below one point
    assert same["high"] == pytest.approx(1 - 0.025 ** (1 / 40))
    assert reprood.compare(far, far, relevant=20).loc[0, "verdict"] == "smaller than relevant"
    two = reprood.score(id=far["id"], ood={**far["ood"], "more": np.zeros((80, 5))}, detectors=["msp"])
    ends = 0.0125 ** (1 / 40), 0.0125 ** (1 / 60)
    assert two.set_index("ood").loc["mean", "auroc_low"] == pytest.approx(sum(ends) / 2)


def test_one_network_each_covers_test_samples_only_and_several_cover_trainings():
    one = reprood.compare(outputs(2.0), outputs(1.0)).loc[0]
    assert (one["verdict"], one["covers"]) == ("better", "test samples, not trainings")
    assert one["difference"] == pytest.approx(one["first"] - one["second"])
    assert reprood.compare(outputs(1.0), outputs(2.0)).loc[0, "verdict"] == "worse"
    first, second = ([outputs(s, seed) for seed in range(3)] for s in (1.5, 1.4))
    several = reprood.compare(first, second, metric="fpr95_id_positive").loc[0]
    assert several["covers"] == "test samples and trainings"
    assert (several["n_first"], several["n_second"]) == (3, 3)
    mixed = reprood.compare(first, second[0]).loc[0]
    assert mixed["covers"] == "test samples and the trainings of the first side only"


def test_the_same_network_is_no_different():
    same = reprood.compare(outputs(1.0), outputs(1.0), relevant=0.5, detectors=["msp", "energy"])
    assert same["verdict"].tolist() == ["smaller than relevant"] * 2
    assert (same[["difference", "low", "high"]] == 0).all().all()


def test_networks_share_the_sets():
    import torch

    torch.manual_seed(0)
    images = torch.randn(40, 3, 4, 4)
    networks = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)) for _ in range(2)]
    table = reprood.compare(*networks, id=images, ood={"a": 2 * images, "b": images[:9]}, batch_size=16)
    assert table["ood"].tolist() == ["a", "b", "mean"]
    alone = [reprood.score(one, id=images, ood={"a": 2 * images}, detectors=["msp"])["auroc"][0] for one in networks]
    assert table.loc[0, ["first", "second"]].tolist() == pytest.approx(alone)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("holds id, odd; expected id and ood", ({"id": np.eye(2), "odd": {}}, outputs(1))),
        ("compute all outputs on the same images", (outputs(1), {**outputs(1), "id": np.eye(5)})),
        ("no network", ([], outputs(1))),
        ("ood must be a mapping", ({"id": np.eye(2)}, outputs(1))),
    ],
)
def test_bad_sides_are_one_sentence(words, arguments):
    with pytest.raises(ReproodError, match=words):
        reprood.compare(*arguments)
