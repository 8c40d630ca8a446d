"""Detectors against values computed by OpenOOD and pytorch-ood."""

import golden_files
import numpy as np
import pytest
import torch
from torch import Tensor

from reprood.detectors import knn, logits, mahalanobis, odin, react, vim

pytestmark = pytest.mark.golden


def load(name: str) -> dict[str, Tensor]:
    return {key: torch.as_tensor(array) for key, array in golden_files.load("baselines", name).items()}


def close(found: Tensor, expected: Tensor, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    torch.testing.assert_close(found.double(), expected.double().reshape(found.shape), rtol=rtol, atol=atol)


def test_logit_scores() -> None:
    arrays = load("logit_scores")
    values = arrays["logits"]
    close(logits.msp(values), arrays["openood_msp_conf"], atol=1e-9)
    assert torch.equal(values.argmax(1), arrays["openood_pred"])
    close(logits.maxlogit(values), arrays["openood_maxlogit_conf"], atol=1e-9)
    close(-logits.maxlogit(values), arrays["ptood_maxlogit_outlier"], atol=1e-9)
    close(-logits.oe_cross_entropy(values), arrays["oe_xent_outlier"], atol=1e-9)
    for i, temperature in enumerate(arrays["T"].tolist()):
        close(logits.energy(values, temperature), arrays[f"openood_energy_conf_{i}"], atol=1e-9, rtol=1e-12)
        close(-logits.energy(values, temperature), arrays[f"ptood_energy_outlier_{i}"], atol=1e-9, rtol=1e-12)
        close(-logits.msp(values, temperature), arrays[f"ptood_msp_outlier_{i}"], atol=1e-9)


def test_odin() -> None:
    arrays = load("odin")

    def network(images: Tensor) -> Tensor:
        hidden = torch.sin(images.flatten(1) @ arrays["A"].T + arrays["a"])
        return hidden @ arrays["W"].T + arrays["b"]

    for i, (temperature, epsilon) in enumerate(zip(arrays["T"].tolist(), arrays["eps"].tolist(), strict=True)):
        moved = odin.perturb(network, arrays["x"], arrays["std"], temperature, epsilon)
        close(moved, arrays[f"openood_xhat_{i}"], atol=1e-5)
        close(
            odin.odin(network, arrays["x"], arrays["std"], temperature, epsilon),
            arrays[f"openood_conf_{i}"],
            atol=1e-6,
        )
        assert torch.equal(network(moved).argmax(1), arrays[f"openood_pred_{i}"])


def test_mahalanobis() -> None:
    arrays = load("mahalanobis")
    classes = len(arrays["openood_class_mean"])
    fitted = mahalanobis.fit(arrays["feat_train"], arrays["labels_train"], classes)
    found = mahalanobis.score(arrays["feat_test"], fitted)
    close(found, arrays["openood_conf"], rtol=1e-3)
    close(fitted.whitening @ fitted.whitening.T, arrays["openood_precision"], rtol=1e-3, atol=1e-4)
    # pytorch-ood halves the distance, divides by n - 1 and adds 1e-6 to the diagonal.
    n = len(arrays["feat_train"])
    close(-0.5 * found * (n - 1) / n, arrays["ptood_outlier"], rtol=1e-3)


def test_knn() -> None:
    arrays = load("knn")
    for i, k in enumerate(arrays["k"].tolist()):
        found = knn.score(arrays["feat_test"], arrays["feat_train"], k)
        close(-found.square(), arrays[f"openood_conf_{i}"], atol=1e-4)


def test_vim() -> None:
    arrays = load("vim")
    weight, bias, dimension = arrays["W"], arrays["b"], int(arrays["dim"])
    fitted = vim.fit(arrays["feat_train"], arrays["feat_train"] @ weight.T + bias, weight, bias, dimension)
    close(fitted.origin, arrays["origin_u"], rtol=1e-3, atol=1e-5)
    close(fitted.basis @ fitted.basis.T, arrays["residual_projector"], rtol=1e-3, atol=1e-4)
    for library in ("alpha", "ptood_alpha"):
        assert fitted.alpha == pytest.approx(float(arrays[library]), rel=1e-3)
    found = vim.score(arrays["feat_test"], arrays["feat_test"] @ weight.T + bias, fitted)
    close(found, arrays["openood_conf"], rtol=1e-3, atol=1e-4)
    close(-found, arrays["ptood_outlier"], rtol=1e-3, atol=1e-4)


def test_react() -> None:
    arrays = load("react")
    for i, percentile in enumerate(arrays["percentile"].tolist()):
        limit = react.threshold(arrays["feat_val"], percentile)
        assert limit == pytest.approx(float(arrays[f"threshold_{i}"]), rel=1e-4)
        found = react.score(arrays["feat_test"], arrays["W"], arrays["b"], limit)
        close(found, arrays[f"openood_conf_{i}"], rtol=1e-4)
        close(-found, arrays[f"ptood_outlier_{i}"], rtol=1e-4)


def test_pytorch_ood_variants_differ_as_documented() -> None:
    """What is stored of pytorch-ood's ODIN and KNN, from its own definitions: other algorithms under the same names."""
    arrays = load("odin")
    x = arrays["x"].clone().requires_grad_()
    hidden = torch.sin(x.flatten(1) @ arrays["A"].T + arrays["a"])
    values = hidden @ arrays["W"].T + arrays["b"]
    (gradient,) = torch.autograd.grad(-values.amax(1).sum(), x)
    for i, epsilon in enumerate(arrays["eps"].tolist()):
        moved = arrays["x"] - epsilon * gradient.sign() / arrays["std"].view(1, -1, 1, 1)
        close(moved, arrays[f"ptood_xhat_{i}"], atol=1e-5)
        after = torch.sin(moved.flatten(1) @ arrays["A"].T + arrays["a"]) @ arrays["W"].T + arrays["b"]
        close(-logits.msp(after), arrays[f"ptood_outlier_{i}"], atol=1e-6)
    arrays = load("knn")
    nearest = torch.cdist(arrays["feat_test"].double(), arrays["feat_train"].double()).amin(1)
    close(nearest, arrays["ptood_outlier_k1"], atol=1e-4)
    assert np.corrcoef(nearest, -knn.score(arrays["feat_test"], arrays["feat_train"], 1))[0, 1] < 1
