"""Write posthoc.npz: scores of pytorch-ood 0.4.0 and by OpenOOD's formulas, on random features with a linear layer.

Run in this folder, with pytorch-ood, scikit-learn and torch: python make_posthoc.py
"""

import numpy as np
import pytorch_ood
import torch
from pytorch_ood import detector as theirs
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance
from torch.nn.functional import cross_entropy

CLASSES, WIDTH, DIMENSION, K = 5, 16, 6, 10


def inputs(count: int, weight: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return non-negative features near the class weights, and labels, one in ten of them wrong."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    features = np.maximum(0.5 * weight[labels] + 0.6 * rng.normal(size=(count, WIDTH)), 0).astype(np.float32)
    labels[::10] = (labels[::10] + 1) % CLASSES
    return features, labels


def main() -> None:
    """Compute and write."""
    assert pytorch_ood.__version__ == "0.4.0"
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32)
    (z_train, y_train), (z_val, y_val) = inputs(300, w, 1), inputs(120, w, 2)
    z = np.concatenate([inputs(20, w, 3)[0], np.abs(rng.normal(size=(20, WIDTH))).astype(np.float32)])
    l_train, l_val, logits = (x @ w.T + b for x in (z_train, z_val, z))
    head = torch.nn.Linear(WIDTH, CLASSES).requires_grad_(False)
    head.weight.copy_(torch.from_numpy(w))
    head.bias.copy_(torch.from_numpy(b))
    T = torch.from_numpy
    maps = T(z)[:, :, None, None]

    def flat(x: torch.Tensor) -> torch.Tensor:
        return head(x.flatten(1))

    correct = l_train.argmax(1) == y_train
    fitted = theirs.TemperatureScaling(None).fit_logits(T(l_val), T(y_val))
    # float64: scipy's fit of a tail far from zero stays near its starting point, and is stored with the scores
    open_max = theirs.OpenMax(None, tailsize=20, alpha=4)
    open_max.fit_logits(T(l_train[correct].astype(float)), T(y_train[correct]))
    tails = [open_max._openmax.distributions[c] for c in range(CLASSES)]
    outlier = {
        "entropy": theirs.Entropy(None).predict_logits(T(logits)),
        "gen_3": theirs.GEN(None, M=3).predict_logits(T(logits)),
        "kl_matching": theirs.KLMatching(None).fit_logits(T(l_val)).predict_logits(T(logits)),
        "she": theirs.SHE(None, head).fit_features(T(z_train), T(y_train)).predict_features(T(z)),
        **{f"ash_{v}": theirs.ASH(None, flat, f"ash-{v}", 0.65).predict_feature_maps(maps) for v in "spb"},
        "scale": theirs.SCALE(None, flat, 0.85).predict_feature_maps(maps),
        "dice": theirs.DICE(None, T(w), T(b), 0.7).fit_features(T(z_train), T(y_train)).predict_features(T(z)),
        "fdbd": theirs.fDBD(None, head).fit_features(T(z_train)).predict_features(T(z)),
        "nnguide": theirs.NNGuide(None, head, k=K).fit_features(T(z_train), T(y_train)).predict_features(T(z)),
        "gradnorm": theirs.GradNorm(head.requires_grad_(True), lambda name: name == "weight").predict(T(z)),
        # with the training samples: distances to classes that no sample of a batch is predicted as count as zero
        "openmax": open_max.predict_logits(T(np.concatenate([logits, l_train]).astype(float)))[: len(logits)],
        "openmax_shapes": T(np.array([tail.c for tail in tails])),
        "openmax_scales": T(np.array([tail.scale for tail in tails])),
        "rmds": theirs.RMD(None).fit_features(T(z_train), T(y_train)).predict_features(T(z)),
    }

    # OpenOOD's formulas (openood/postprocessors), written again with the same estimators, in float64.
    means = np.array([z_train[y_train == c].mean(0) for c in range(CLASSES)])
    own = EmpiricalCovariance().fit((z_train - means[y_train]).astype(float)).precision_
    whole = EmpiricalCovariance().fit(z_train.astype(float)).precision_
    far = np.array([np.einsum("ni,ij,nj->n", z - m, own, z - m) for m in means])
    centred = z - z_train.mean(0)
    background = np.einsum("ni,ij,nj->n", centred, whole, centred)
    origin = -np.linalg.pinv(w.astype(float)) @ b
    covariance = EmpiricalCovariance(assume_centered=True).fit(z_train - origin).covariance_
    _, vectors = np.linalg.eigh(covariance)
    residual = np.linalg.norm((z - origin) @ vectors[:, : WIDTH - DIMENSION], axis=1)
    p = np.sort(softmax(logits.astype(float), axis=1), axis=1)[:, -3:]
    norms = np.linalg.norm(w[:, None] - w[None], axis=2) + np.eye(CLASSES)
    gaps = np.abs(logits - logits.max(1, keepdims=True)) / norms[logits.argmax(1)]
    gradients = []
    for row in T(z):
        head.zero_grad()
        cross_entropy(head(row[None]), torch.ones(1, CLASSES), reduction="sum").backward()
        gradients.append(float(head.weight.grad.abs().sum()))
    guide = z_train / np.linalg.norm(z_train, axis=1, keepdims=True) * logsumexp(l_train, axis=1)[:, None]
    nearest = np.sort(z / np.linalg.norm(z, axis=1, keepdims=True) @ guide.T, axis=1)[:, -K:]
    conf = {
        "entropy": (np.exp(log_softmax(logits.astype(float), 1)) * log_softmax(logits.astype(float), 1)).sum(1),
        "gen_3": -((p * (1 - p)) ** 0.1).sum(1),
        "rmds": -far.min(0) + background,
        "residual": -residual,
        "fdbd": gaps.sum(1) / np.linalg.norm(centred, axis=1),
        "gradnorm": np.array(gradients),
        "nnguide": nearest.mean(1) * logsumexp(logits, axis=1),
    }
    np.savez_compressed(
        "posthoc.npz",
        w=w,
        b=b,
        feat_train=z_train,
        labels_train=y_train,
        feat_val=z_val,
        labels_val=y_val,
        feat_test=z,
        dim=DIMENSION,
        k=K,
        ptood_temperature=fitted.t.item(),
        **{f"ptood_{name}": values.detach().double().numpy() for name, values in outlier.items()},
        **{f"openood_{name}": np.asarray(values, np.float64) for name, values in conf.items()},
    )


if __name__ == "__main__":
    main()
