"""BiaMAT's gate, losses, steps and learning rates against values computed by the authors' code."""

from collections.abc import Iterator

import golden_files
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprood.attacks.losses import cross_entropy, margin
from reprood.attacks.projected import pgd
from reprood.methods.biamat.loss import (
    HeadLogits,
    at_loss,
    at_objective,
    confidence,
    gate_threshold,
    out_then_in,
)
from reprood.methods.biamat.net import RobustNet, TwoHeads
from reprood.methods.biamat.recipe import Recipe, at_rate, bag_of_tricks_rate, trades_rate
from reprood.methods.biamat.standardise import standardise_each
from reprood.methods.biamat.step import Ascent, trades_step
from reprood.nets.wrn_leaky import Block

pytestmark = pytest.mark.golden

Arrays = dict[str, Tensor]
PLAIN_VARIANTS = (3, 4)  # IN images with plain cross-entropy


def load(name: str) -> Arrays:
    return {key: torch.as_tensor(array) for key, array in golden_files.load("biamat", name).items()}


def cases(name: str) -> Iterator[Arrays]:
    """The arrays of each case without their prefix, and those that belong to none."""
    arrays = load(name)
    for case in range(int(arrays["n_cases"])):
        prefix = f"c{case}_"
        yield {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def close(found: Tensor, wanted: Tensor, rtol: float = 0.0, atol: float = 0.0) -> None:
    torch.testing.assert_close(found, wanted.to(found.dtype), rtol=rtol, atol=atol)


def test_per_image_standardisation() -> None:
    arrays = load("per_image_standardization")
    images = arrays["images_nhwc"].permute(0, 3, 1, 2)
    wanted = arrays["output_nhwc"].permute(0, 3, 1, 2)
    close(standardise_each(images, white=255), wanted, atol=1e-4)
    close(standardise_each(images.double() / 255), wanted, atol=1e-4)


def test_residual_unit() -> None:
    for case in cases("at_residual_unit"):
        inputs, outputs, stride = (int(case[name]) for name in ("in_channels", "out_channels", "stride"))
        unit = Block(inputs, outputs, stride, bool(case["activate_before_residual"]))
        state = {f"conv{n}.weight": case[f"conv{n}_kernel_hwio"].permute(3, 2, 0, 1) for n in (1, 2)}
        for n in (1, 2):
            names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
            state |= {f"norm{n}.{ours}": case[f"bn{n}_{theirs}"] for ours, theirs in names.items()}
        missing, unexpected = unit.load_state_dict(state, strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
        with torch.no_grad():
            close(unit.eval()(case["x_nchw"]), case["output_eval_nchw"], atol=1e-4)
            close(unit.train()(case["x_nchw"]), case["output_train_nchw"], atol=1e-4)


def test_merged_loss() -> None:
    for case in cases("at_merged_loss"):
        found = HeadLogits(
            case["logits_primary_head"].clone().requires_grad_(), case["logits_aux_head"].clone().requires_grad_()
        )
        labels, labels_in = case["labels_primary"], case["labels_aux_in"]
        assert len(found.primary) == int(case["n_primary"]) + int(case["n_aux_out"])
        parts = at_loss(found, labels, labels_in, float(case["alpha"]))
        total = parts.primary + parts.auxiliary
        gradients = torch.autograd.grad(total, list(found), allow_unused=True, materialize_grads=True)
        for ours, name in (
            (parts.primary, "loss_primary"),
            (parts.auxiliary, "loss_aux_weighted"),
            (total, "loss_total"),
            (at_objective(found, labels, labels_in), "attack_objective_sum"),
            (gradients[0], "grad_logits_primary_head"),
            (gradients[1], "grad_logits_aux_head"),
        ):
            close(ours.detach(), case[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["xent", "cw", "merge"])
def test_attack_of_adversarial_training(name: str) -> None:
    arrays = load("at_pgd_linf")
    labels_in, soft, labels = arrays["labels_aux_in"], arrays["soft_labels_primary_head"], arrays["labels"]
    outer = len(soft)
    known = labels[: int((soft.amax(1) > soft.amin(1)).sum())]  # the rows after these are OUT
    images = arrays["x_nat"][: len(arrays[f"x_adv_{name}"])] / 255

    def answers(pixels: Tensor) -> HeadLogits:
        hidden = torch.tanh(255 * pixels.flatten(1) / 64 - 2)
        return HeadLogits(
            hidden[:outer] @ arrays["weight_primary"] + arrays["bias_primary"],
            hidden[outer:] @ arrays["weight_aux"] + arrays["bias_aux"],
        )

    def objective(pixels: Tensor) -> Tensor:
        found = answers(pixels)
        if name == "merge":
            return at_objective(found, known, labels_in)
        return (cross_entropy if name == "xent" else margin)(found.primary, labels).sum()

    found = pgd(
        objective,
        images,
        eps=float(arrays["epsilon"]) / 255,
        step=float(arrays["step_size"]) / 255,
        steps=int(arrays["num_steps"]),
        noise=(arrays[f"init_noise_{name}"] / 255).to(images.dtype),
        clip_start=True,
    )
    far = (255 * found - arrays[f"x_adv_{name}"]).abs() > 1e-3
    assert far.float().mean() <= 1e-3


def test_confidence_gate() -> None:
    for case in cases("confidence_gate"):
        logits, labels = case["logits_aux"], case["labels_aux"]
        threshold, warm = case["threshold_in"], bool(case["warmup"])
        outside, mean = torch.zeros(len(logits), dtype=torch.bool), 0.0
        if not warm:
            if float(threshold) == 0:
                threshold = gate_threshold(case["logits_primary"], float(case["gamma"]))
            sure = confidence(logits)
            outside, mean = sure < threshold, float(sure.mean())
        order, count = out_then_in(outside)
        assert torch.equal(order, case["aux_order_out_then_in"])
        assert count == int(case["n_aux_out"])
        assert len(logits) - count == int(case["n_aux_in"])
        assert torch.equal(labels[order[count:]], case["labels_aux_in"])
        assert float(threshold) == pytest.approx(float(case["threshold_out"]), abs=1e-9)
        assert mean == pytest.approx(float(case["mean_confidence_aux"]), abs=1e-9)
        assert (0.0 if warm else float(case["alpha_setting"])) == float(case["alpha_used"])


class Trunk(nn.Module):
    """Convolution, batch norm, ReLU, mean."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(images))).mean((2, 3))


def stand_in(case: Arrays) -> tuple[TwoHeads, dict[str, Tensor]]:
    """The network of the reference, and its tensors by the reference's names."""
    width, inputs = case["init_conv_weight"].shape[:2]
    primary = RobustNet(Trunk(inputs, width), len(case["init_fc_bias"]), "none")
    network = TwoHeads(primary, len(case["init_fc_multihead_bias"])).double()
    modules = {
        "conv": primary.backbone.conv,
        "bn": primary.backbone.bn,
        "fc": primary.head,
        "fc_multihead": network.auxiliary,
    }
    tensors = {f"{name}_{key}": value for name, module in modules.items() for key, value in vars_of(module).items()}
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(case[f"init_{name}"])
    return network.train(), tensors


def vars_of(module: nn.Module) -> dict[str, Tensor]:
    every = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor for name, tensor in every.items() if tensor.is_floating_point()}


def test_trades_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from reprood.methods.biamat import step as biamat_step

    attacked: list[Tensor] = []
    inner = biamat_step.pgd

    def watched(*arguments: object, **options: object) -> Tensor:
        attacked.append(inner(*arguments, **options))
        return attacked[-1]

    monkeypatch.setattr(biamat_step, "pgd", watched)
    for case in cases("trades_biamat_step"):
        network, tensors = stand_in(case)
        eps, step, beta, alpha = (float(case[name]) for name in ("epsilon", "step_size", "beta", "alpha"))
        parts = trades_step(
            network,
            case["x_natural"],
            case["labels_primary"],
            case["labels_aux_in"],
            0.001 * case["init_randn"],
            alpha,
            Ascent(eps, step, int(case["num_steps"])),
            beta=beta,
            plain_auxiliary=int(case["variant"]) in PLAIN_VARIANTS,
        )
        assert network.training
        close(attacked[-1], case["x_adv"], atol=1e-7)
        total = parts.primary + parts.auxiliary
        close(total.detach(), case["loss_total"], rtol=1e-7, atol=1e-7)
        if not bool(case["loss_aux_weighted"].isnan()):
            close(parts.auxiliary.detach(), case["loss_aux_weighted"], rtol=1e-7, atol=1e-7)
        sums = [float(case[f"sum_loss_aux_{group}"]) for group in ("out", "in")]
        if not np.isnan(sums).any():
            count = int(case["n_aux_out"]) + int(case["n_aux_in"])
            assert float(parts.auxiliary.detach()) == pytest.approx(alpha * sum(sums) / count, abs=1e-7)
        total.backward()
        for name, wanted in case.items():
            if name.startswith("grad_"):
                gradient = tensors[name.removeprefix("grad_")].grad
                close(torch.zeros_like(wanted) if gradient is None else gradient, wanted, rtol=1e-7, atol=1e-7)
            elif name.startswith("after_"):
                close(tensors[name.removeprefix("after_")], wanted, rtol=1e-7, atol=1e-7)


def test_attacks_of_the_trades_evaluation() -> None:
    arrays = load("trades_eval_attacks")

    def classify(images: Tensor) -> Tensor:
        return torch.tanh(2 * images.flatten(1) - 1) @ arrays["weight"].T + arrays["bias"]

    def errors(images: Tensor) -> int:
        return int((classify(images).argmax(1) != arrays["labels"]).sum())

    assert errors(arrays["x"]) == int(arrays["n_errors_natural"])
    for height, name in ((cross_entropy, "pgd"), (margin, "cw")):
        found = pgd(
            lambda images, height=height: height(classify(images), arrays["labels"]).sum(),
            arrays["x"],
            eps=float(arrays["epsilon"]),
            step=float(arrays["step_size"]),
            steps=int(arrays["num_steps"]),
            noise=arrays["init_noise"],
        )
        close(found, arrays[f"x_adv_{name}"], atol=1e-9)
        assert errors(found) == int(arrays[f"n_errors_{name}"])


def test_learning_rates() -> None:
    for case in cases("lr_schedules"):
        epochs, lr, wanted = int(case["epochs"]), float(case["base_lr"]), case["lr_per_epoch_from_1"].tolist()
        tricks = int(case["schedule"]) == 0
        for epoch, rate in enumerate(wanted, start=1):
            found = (bag_of_tricks_rate if tricks else trades_rate)(lr, epoch, epochs)
            assert found == pytest.approx(rate, abs=1e-7)
        recipe = Recipe(epochs=epochs, lr=lr, drops="bag_of_tricks" if tricks else "trades")
        np.testing.assert_allclose([recipe.rate(epoch, 5, 7) for epoch in range(epochs)], wanted, atol=1e-7)
    arrays = load("lr_schedules")
    rates = dict(zip(arrays["at_steps"].tolist(), arrays["at_lr"].tolist(), strict=True))
    lr = rates[min(rates)] / at_rate(1.0, min(rates), 39_000)  # the file does not state it
    recipe = Recipe(epochs=100, lr=lr)
    for step, rate in rates.items():
        assert at_rate(lr, step, 39_000) == pytest.approx(rate, abs=1e-7)
        epoch, within = divmod(step, 390)
        assert recipe.rate(epoch, within, 390) == pytest.approx(rate, abs=1e-7)
