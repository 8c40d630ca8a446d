"""Detectors against values computed by OpenOOD and pytorch-ood."""

import golden_files
import numpy as np
import pytest
import torch
from torch import Tensor

from reprood.detectors import energy, knn, mahalanobis, maxlogit, msp, oe_cross_entropy, react, vim
from reprood.predict.passes import perturb

pytestmark = pytest.mark.golden


def load(name: str) -> dict[str, np.ndarray]:
    return golden_files.load("baselines", name)


def tensors(name: str) -> dict[str, Tensor]:
    return {key: torch.as_tensor(array) for key, array in load(name).items()}


def close(found: np.ndarray | Tensor, expected: np.ndarray | Tensor, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    values, wanted = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(values, wanted.reshape(values.shape), rtol=rtol, atol=atol)


def test_logit_scores() -> None:
    arrays = load("logit_scores")
    values = arrays["logits"]
    close(msp.msp(values), arrays["openood_msp_conf"], atol=1e-9)
    assert (values.argmax(1) == arrays["openood_pred"]).all()
    close(maxlogit.maxlogit(values), arrays["openood_maxlogit_conf"], atol=1e-9)
    close(-maxlogit.maxlogit(values), arrays["ptood_maxlogit_outlier"], atol=1e-9)
    close(-oe_cross_entropy.oe_cross_entropy(values), arrays["oe_xent_outlier"], atol=1e-9)
    for i, temperature in enumerate(arrays["T"].tolist()):
        close(energy.energy(values, temperature), arrays[f"openood_energy_conf_{i}"], atol=1e-9, rtol=1e-12)
        close(-energy.energy(values, temperature), arrays[f"ptood_energy_outlier_{i}"], atol=1e-9, rtol=1e-12)
        close(-msp.msp(values, temperature), arrays[f"ptood_msp_outlier_{i}"], atol=1e-9)


def test_odin() -> None:
    arrays = tensors("odin")

    def network(images: Tensor) -> Tensor:
        hidden = torch.sin(images.flatten(1) @ arrays["A"].T + arrays["a"])
        return hidden @ arrays["W"].T + arrays["b"]

    for i, (temperature, epsilon) in enumerate(zip(arrays["T"].tolist(), arrays["eps"].tolist(), strict=True)):
        (moved,) = perturb(network, arrays["x"], arrays["std"], temperature, [epsilon])
        close(moved, arrays[f"openood_xhat_{i}"], atol=1e-5)
        close(msp.msp(network(moved).numpy(), temperature), arrays[f"openood_conf_{i}"], atol=1e-6)
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
        close(-np.square(found), arrays[f"openood_conf_{i}"], atol=1e-4)


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
    """Stored values of pytorch-ood's ODIN and KNN, from its own definitions: other algorithms under the same names."""
    arrays = tensors("odin")
    x = arrays["x"].clone().requires_grad_()
    hidden = torch.sin(x.flatten(1) @ arrays["A"].T + arrays["a"])
    values = hidden @ arrays["W"].T + arrays["b"]
    (gradient,) = torch.autograd.grad(-values.amax(1).sum(), x)
    for i, epsilon in enumerate(arrays["eps"].tolist()):
        moved = arrays["x"] - epsilon * gradient.sign() / arrays["std"].view(1, -1, 1, 1)
        close(moved, arrays[f"ptood_xhat_{i}"], atol=1e-5)
        after = torch.sin(moved.flatten(1) @ arrays["A"].T + arrays["a"]) @ arrays["W"].T + arrays["b"]
        close(-msp.msp(after.numpy()), arrays[f"ptood_outlier_{i}"], atol=1e-6)
    arrays = tensors("knn")
    nearest = torch.cdist(arrays["feat_test"].double(), arrays["feat_train"].double()).amin(1)
    close(nearest, arrays["ptood_outlier_k1"], atol=1e-4)
    scores = knn.score(arrays["feat_test"].numpy(), arrays["feat_train"].numpy(), 1)
    assert np.corrcoef(nearest, -scores)[0, 1] < 1
