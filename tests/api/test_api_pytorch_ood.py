"""Detectors and metrics against pytorch-ood 0.4, whose scores have the opposite sign."""

import numpy as np
import pytest
import torch
from pytorch_ood import detector as theirs
from pytorch_ood.metrics import OODMetrics

import reprood
from reprood import metrics
from reprood.core.errors import ReproodError
from reprood.evaluate.variants import trapezoid_aupr

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(6, 12)).astype(np.float32), RNG.normal(size=6).astype(np.float32)


def stored(count, scale, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, count)
    centres = np.random.default_rng(9).normal(size=(6, 12))
    features = np.maximum(scale * centres[labels] + rng.normal(size=(count, 12)), 0).astype(np.float32)
    return {"features": features, "logits": features @ WEIGHT.T + BIAS, "labels": labels}


def test_metrics_agree_where_the_definitions_do():
    for scale, digits in ((1.0, 9), (30.0, 0)):  # unclipped range; many ties
        inside = np.round(scale * RNG.normal(size=300), digits)
        outside = np.round(scale * RNG.normal(-0.7, 1.3, size=200), digits)
        scores = torch.from_numpy(-np.concatenate([inside, outside]))
        found = OODMetrics().update(scores, torch.tensor([0] * 300 + [-1] * 200)).compute()
        assert metrics.auroc(inside, outside) == pytest.approx(found["AUROC"], abs=1e-9)
        assert metrics.fpr95_ood_positive(inside, outside) == pytest.approx(found["FPR95TPR"], abs=1e-9)
        for key, positive in (("AUPR-IN", False), ("AUPR-OUT", True)):
            assert trapezoid_aupr(inside, outside, ood_positive=positive) == pytest.approx(found[key], abs=1e-9)
        assert list(metrics.all_metrics(inside, outside).values()) == [
            getattr(metrics, name)(inside, outside) for name in metrics.all_metrics(inside, outside)
        ]


PAIRS = {
    "msp": theirs.MaxSoftmax(None),
    "maxlogit": theirs.MaxLogit(None),
    "energy": theirs.EnergyBased(None),
    "mahalanobis": theirs.Mahalanobis(None),
    "knn": theirs.KNN(None, k=10),
    "vim": theirs.ViM(None, d=6, w=torch.from_numpy(WEIGHT), b=torch.from_numpy(BIAS)),
}
OPTIONS = {"knn": {"k": 10}, "vim": {"dimension": 6}}


@pytest.mark.parametrize("name", PAIRS)
def test_detectors_agree(name):
    table = reprood.score(
        id=stored(150, 2.0, 1), ood={"far": stored(120, 0.5, 2)}, train=stored(400, 2.0, 0), head=(WEIGHT, BIAS),
        detectors={name: OPTIONS.get(name, {}), "theirs": PAIRS[name]}, replicates=20,
    )  # fmt: skip
    ours, other = (table.drop(columns="detector").loc[row].drop("ood").astype(float) for row in (0, 1))
    np.testing.assert_allclose(ours, other, atol=2e-3)
    assert ours["auroc"] > 0.6


def test_odin_agrees_on_a_network():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
    )
    inside, outside, std = torch.randn(60, 3, 8, 8), 1.5 * torch.randn(50, 3, 8, 8), [0.2, 0.3, 0.4]
    detector = theirs.ODIN(network, eps=0.01, temperature=10.0, norm_std=std)
    scores = [-detector(images).double().numpy() for images in (inside, outside)]
    table = reprood.score(
        network, id=inside, ood={"far": outside}, std=std, detectors={"odin": {"epsilon": 0.01, "temperature": 10}},
        replicates=0, batch_size=25,
    )  # fmt: skip
    assert table["auroc"][0] == pytest.approx(metrics.auroc(*scores), abs=1e-3)
    assert table["fpr95_ood_positive"][0] == pytest.approx(metrics.fpr95_ood_positive(*scores), abs=0.02)


def test_by_name_without_a_training_split():
    """Detectors of the library and of the package that are not fitted on samples need none."""
    sets = {"id": stored(60, 2.0, 0), "ood": {"far": stored(50, 0.5, 1)}, "head": (WEIGHT, BIAS)}
    names = ["pytorch_ood.Entropy", "entropy", "pytorch_ood.ASH", "ash", "scale", "gradnorm"]
    found = reprood.score(**sets, detectors=names, replicates=0).set_index("detector")["auroc"]
    assert list(found.index) == names
    assert found["pytorch_ood.Entropy"] == pytest.approx(found["entropy"], abs=1e-6)
    with pytest.raises(ReproodError, match="pytorch_ood.SHE needs training samples"):
        reprood.score(**sets, detectors=["pytorch_ood.SHE"])
    with pytest.raises(ReproodError, match="temperature_scaling: .*give train or validation with labels"):
        reprood.score(**sets, train=stored(40, 2.0, 2)["logits"], detectors=["temperature_scaling"])
