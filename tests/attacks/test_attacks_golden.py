"""Attacks against values computed by the authors' code."""

from collections.abc import Callable

import golden_files
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from reprood.attacks.losses import cross_entropy, margin
from reprood.attacks.projected import pgd

pytestmark = pytest.mark.golden

Network = Callable[[Tensor], tuple[Tensor, Tensor]]


def load(paper: str, name: str) -> dict[str, Tensor]:
    return {key: torch.as_tensor(array) for key, array in golden_files.load(paper, name).items()}


def rotation_network(arrays: dict[str, Tensor]) -> Network:
    """Images in [0, 1] -> class logits, rotation logits."""

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(functional.conv2d(2 * images - 1, arrays["net.c.weight"], arrays["net.c.bias"], padding=1))
        features = hidden.square().mean((2, 3)) + hidden[:, :, 0].mean(2)
        classes = functional.linear(features, arrays["net.fc.weight"], arrays["net.fc.bias"])
        return classes, functional.linear(features, arrays["net.rot_pred.weight"], arrays["net.rot_pred.bias"])

    return network


def budget(arrays: dict[str, Tensor], names: tuple[str, str, str], unit: float = 1.0) -> dict[str, float | int]:
    eps, step, steps = (arrays[name].item() for name in names)
    return {"eps": eps / unit, "step": step / unit, "steps": int(steps)}


def test_rotations_as_published_and_around_the_clean_images() -> None:
    arrays = load("ss_ood", "adversarial")
    network, labels, count = rotation_network(arrays), arrays["y"], len(arrays["x"])

    def objective(images: Tensor) -> Tensor:
        classes, rotations = network(images)
        turned = cross_entropy(rotations[count:], arrays["rot_labels"]).sum()
        return cross_entropy(classes[:count], labels).sum() + turned / 8

    def class_only(images: Tensor) -> Tensor:
        return cross_entropy(network(images)[0], labels).sum()

    given = budget(arrays, ("eps", "step_size", "num_steps"))
    for ascended, images, noise, prefix in (
        (objective, arrays["batch5"], arrays["noise"], ""),
        (class_only, arrays["x"], arrays["eval_noise"], "eval_"),
    ):
        noised = images + noise
        for name, centre in (("official", noised), ("textbook", None)):
            found = pgd(ascended, images, noise=noise, centre=centre, **given)
            torch.testing.assert_close(found, arrays[f"{prefix}adv_{name}"], rtol=0, atol=1e-7)
    torch.testing.assert_close(arrays["batch5"] + arrays["noise"], arrays["bx_after"], rtol=0, atol=1e-12)


def test_trades_evaluation() -> None:
    arrays = load("biamat", "trades_eval_attacks")

    def classify(images: Tensor) -> Tensor:
        return torch.tanh(2 * images.flatten(1) - 1) @ arrays["weight"].T + arrays["bias"]

    def errors(images: Tensor) -> int:
        return int((classify(images).argmax(1) != arrays["labels"]).sum())

    assert errors(arrays["x"]) == arrays["n_errors_natural"]
    for loss, name in ((cross_entropy, "pgd"), (margin, "cw")):
        found = pgd(
            lambda images, loss=loss: loss(classify(images), arrays["labels"]).sum(),
            arrays["x"],
            noise=arrays["init_noise"],
            **budget(arrays, ("epsilon", "step_size", "num_steps")),
        )
        torch.testing.assert_close(found, arrays[f"x_adv_{name}"], rtol=0, atol=1e-9)
        assert errors(found) == arrays[f"n_errors_{name}"]


@pytest.mark.parametrize("name", ["xent", "cw", "merge"])
def test_adversarial_training(name: str) -> None:
    arrays = load("biamat", "at_pgd_linf")
    count = len(arrays["x_nat"]) if name == "merge" else len(arrays["labels"])
    outside, labels = len(arrays["labels"]), arrays["labels"]
    images = arrays["x_nat"][:count] / 255

    def heads(images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(255 * images.flatten(1) / 64 - 2)
        primary = hidden @ arrays["weight_primary"] + arrays["bias_primary"]
        return primary, hidden @ arrays["weight_aux"] + arrays["bias_aux"]

    def objective(images: Tensor) -> Tensor:
        primary, auxiliary = heads(images)
        if name == "merge":
            soft = cross_entropy(primary[:outside], arrays["soft_labels_primary_head"]).sum()
            return soft + cross_entropy(auxiliary[outside:], arrays["labels_aux_in"]).sum()
        return (cross_entropy if name == "xent" else margin)(primary, labels).sum()

    found = pgd(
        objective,
        images,
        noise=(arrays[f"init_noise_{name}"] / 255).to(images.dtype),
        clip_start=True,
        **budget(arrays, ("epsilon", "step_size", "num_steps"), unit=255),
    )
    far = (255 * found - arrays[f"x_adv_{name}"]).abs() > 1e-3
    assert far.float().mean() <= 1e-3  # the sign of a vanishing gradient is a matter of rounding
    if name != "merge":
        clean = ~far.flatten(1).any(1)
        expected = arrays[f"logits_adv_{name}"][clean]
        np.testing.assert_allclose(heads(found)[0][clean].numpy(), expected.numpy(), atol=1e-3)
