"""The examples in docstrings give what they say, and every public loss has one."""

import doctest
import importlib
import pkgutil

import pytest

import reprood.methods
import reprood.nets
import reprood.studies

MODULES = [
    module.name
    for package in (reprood.methods, reprood.nets, reprood.studies)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


LOSSES = {
    "biamat.loss": ["at_loss", "confidence", "targets"],
    "cnc.method": ["cnc_score", "extra_class_loss"],
    "cnc.outliers": ["pbcc"],
    "csi.loss": ["joint_labels", "nt_xent", "shift_cross_entropy", "supervised_nt_xent"],
    "csi.score": ["nearest_product"],
    "cutmix": ["cutmix_batch", "cutout_batch", "mixed_cross_entropy", "mixup_batch", "rand_box"],
    "cutpaste.scores": ["log_odds_normal"],
    "dias.step": ["real_loss", "smoothed_cross_entropy"],
    "erm": ["smoothed_cross_entropy"],
    "godin": ["choose_epsilon", "cosine_numerator", "euclid_numerator", "inner_numerator"],
    "hood": ["correlation", "hood_loss", "hsic"],
    "oe": ["oe_loss", "uniform_cross_entropy"],
    "resmooth.loss": ["objective", "resmoothed", "smoothed"],
    "ss_labels": ["corrected_nll", "gold_matrix"],
    "ss_one_class": ["applied_probability", "heads_cross_entropy"],
    "ss_ood": ["kl_from_uniform", "ood_loss", "rotation_bits", "rotation_loss"],
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_scores_have_examples(name) -> None:
    module = importlib.import_module(f"reprood.methods.{name}")
    examples = {test.name.rsplit(".", 1)[1] for test in doctest.DocTestFinder().find(module) if test.examples}
    assert set(LOSSES[name]) <= examples
