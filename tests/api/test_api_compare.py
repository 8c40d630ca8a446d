"""`reprood.compare`: verdicts, what the interval covers, pairing."""

import numpy as np
import pytest

import reprood
from reprood.api.comparison import verdict
from reprood.core.errors import ReproodError
from reprood.evaluate.bootstrap import Interval


def outputs(signal, seed=0):
    draw = np.random.default_rng(0)
    labels, noise, far = draw.integers(0, 5, 300), draw.normal(size=(300, 5)), draw.normal(size=(300, 5))
    more = 0.3 * np.random.default_rng(seed + 1).normal(size=(300, 5))
    return {"id": signal * np.eye(5)[labels] + noise + more, "ood": {"far": far}}


def interval(low, high):
    return Interval((low + high) / 2, low, high, 0.95, 0.01, 1, 10, 10)


@pytest.mark.parametrize(
    ("low", "high", "metric", "relevant", "expected"),
    [
        (0.01, 0.03, "auroc", None, "better"),
        (0.01, 0.03, "fpr95_id_positive", None, "worse"),
        (-0.01, 0.03, "auroc", None, "open"),
        (-0.01, 0.03, "auroc", 2, "open"),
        (0.001, 0.019, "auroc", 2, "smaller than relevant"),
        (-0.03, -0.01, "detection_error", 2, "better"),
    ],
)
def test_verdicts(low, high, metric, relevant, expected):
    assert verdict(interval(low, high), metric, relevant) == expected


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
        ("need the same test samples", (outputs(1), {**outputs(1), "id": np.eye(5)})),
        ("no network", ([], outputs(1))),
        ("ood must be a mapping", ({"id": np.eye(2)}, outputs(1))),
    ],
)
def test_bad_sides_are_one_sentence(words, arguments):
    with pytest.raises(ReproodError, match=words):
        reprood.compare(*arguments)
