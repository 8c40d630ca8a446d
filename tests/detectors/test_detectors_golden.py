"""Detectors against values computed by OpenOOD and pytorch-ood."""

from dataclasses import replace

import golden_files
import numpy as np
import pytest
import torch
from scipy.stats import weibull_min
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


def test_post_hoc_detectors() -> None:
    """Those of posthoc.npz; a different scale or constant is stated in the docstring of the module."""
    from reprood.detectors import (  # here, to keep the names short
        ash,
        dice,
        entropy,
        fdbd,
        gen,
        gradnorm,
        kl_matching,
        nnguide,
        openmax,
        residual,
        rmds,
        scale,
        she,
        temperature_scaling,
    )  # fmt: skip

    arrays = load("posthoc")
    weight, bias, train, labels, test = (arrays[key] for key in ("w", "b", "feat_train", "labels_train", "feat_test"))
    logits, train_logits, val_logits = (x @ weight.T + bias for x in (test, train, arrays["feat_val"]))
    classes, k, dimension = len(bias), int(arrays["k"]), int(arrays["dim"])
    correct = train_logits.argmax(1) == labels
    plain = openmax.OpenmaxOptions(tail=20, classes=4, euclidean=1, cosine=0)
    tails = openmax.fit(train_logits, labels, plain)
    theirs = replace(tails, shapes=arrays["ptood_openmax_shapes"], scales=arrays["ptood_openmax_scales"])
    unknown = 1 / (1 + np.exp(openmax.score(logits, theirs, plain)))
    relative = rmds.score(test, rmds.fit(train, labels, classes))
    guided = nnguide.score(test, logits, nnguide.fit(train, train_logits), k)
    found = {
        "openood_entropy": entropy.entropy(logits),
        "ptood_entropy": -entropy.entropy(logits),
        "openood_gen_3": gen.gen(logits, classes=3),
        "ptood_gen_3": -gen.gen(logits, classes=3) / 3,
        "ptood_kl_matching": -kl_matching.score(logits, kl_matching.fit(val_logits)),
        "ptood_she": -she.score(test, logits, she.fit(train, train_logits, labels)),
        **{
            f"ptood_ash_{variant}": -ash.score(test, weight, bias, ash.AshOptions(variant=variant, percentile=65))
            for variant in "spb"
        },
        "ptood_scale": -scale.score(test, weight, bias, 85),
        "ptood_dice": -dice.score(test, dice.masked(weight, train, 70), bias),
        "openood_fdbd": fdbd.score(test, logits, fdbd.fit(train, weight)),
        "ptood_fdbd": -fdbd.score(test, logits, fdbd.fit(train, weight)) / (classes - 1),
        "openood_nnguide": guided,
        "ptood_nnguide": -guided,
        "openood_gradnorm": gradnorm.score(test, logits),
        "ptood_gradnorm": -gradnorm.score(test, logits) / classes,
        "openood_rmds": relative,
        "ptood_rmds": -relative / len(train),
        "openood_residual": residual.score(test, residual.Space(*vim.residual_space(train, weight, bias, dimension))),
        "ptood_openmax": unknown,
    }
    assert correct.sum() < len(correct)
    enough = (test > 0).sum(1) >= ash.kept(test.shape[1], 65)  # which of several zeros ASH-B fills is arbitrary
    for name, values in found.items():
        rows = enough if name == "ptood_ash_b" else slice(None)
        np.testing.assert_allclose(values[rows], arrays[name][rows], rtol=2e-4, atol=1e-5, err_msg=name)
    for c in range(classes):  # the same tails, fitted better than by scipy's search from a distant start
        own = train_logits[correct & (labels == c)].astype(float)
        tail = np.sort(np.linalg.norm(own - own.mean(0), axis=1))[-20:] - tails.smallest[c] + 1e4
        likelihood = [weibull_min.logpdf(tail, fit.shapes[c], scale=fit.scales[c]).sum() for fit in (tails, theirs)]
        assert likelihood[0] >= likelihood[1] - 1e-6
    chosen = temperature_scaling.fit(val_logits, arrays["labels_val"]).temperature
    loss = [
        -np.log(msp.msp(val_logits, t)).mean() + (val_logits.max(1) - np.take_along_axis(
            val_logits, arrays["labels_val"][:, None], 1)[:, 0]).mean() / t
        for t in (0.99 * chosen, chosen, 1.01 * chosen, float(arrays["ptood_temperature"]))
    ]  # fmt: skip
    assert min(loss) == loss[1]
    assert 1 < float(arrays["ptood_temperature"]) < chosen  # its search stops on the way from 1
    odds = temperature_scaling.score(logits, chosen)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), msp.msp(logits, chosen), rtol=1e-12)
