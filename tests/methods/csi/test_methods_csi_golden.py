"""CSI against arrays made by the authors' code: losses, steps, shifts, schedule, LARS, scores, heads."""

import numpy as np
import pytest
import torch
from golden_files import load
from torch import Tensor, nn

from reprood.data.resampling import mixed
from reprood.engine.optimizers import LARS, build_optimizer
from reprood.engine.training import Training
from reprood.evaluate.classification import expected_calibration_error
from reprood.methods.csi import score as csi_score
from reprood.methods.csi.linear import linear_loss
from reprood.methods.csi.loss import joint_labels, nt_xent, shift_cross_entropy, supervised_nt_xent
from reprood.methods.csi.net import ContrastiveNet, marginalised
from reprood.methods.csi.shifts import COUNTS, all_shifts, shift, shift_numbers
from reprood.methods.csi.views import assembled
from reprood.nets.resnet import Basic

pytestmark = pytest.mark.golden


def tensors(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(np.array(array)) for key, array in load("csi", name).items()}


def cases(arrays: dict[str, Tensor], name: str) -> list[str]:
    actual = sorted(key.removesuffix(name) for key in arrays if key.endswith(f"_{name}"))
    assert actual
    return actual


def with_gradient(loss, *inputs: Tensor) -> tuple[float, list[Tensor]]:
    leaves = [values.clone().requires_grad_() for values in inputs]
    value = loss(*leaves)
    value.backward()
    return float(value.detach()), [leaf.grad for leaf in leaves]


def test_nt_xent() -> None:
    arrays = tensors("nt_xent")
    for case in cases(arrays, "temperature"):
        value, (gradient,) = with_gradient(
            lambda z, case=case: nt_xent(z, float(arrays[f"{case}temperature"])), arrays[f"{case}z"]
        )
        assert value == pytest.approx(float(arrays[f"{case}loss"]), rel=1e-9)
        torch.testing.assert_close(gradient, arrays[f"{case}grad_z"], rtol=1e-8, atol=1e-12)


def test_supervised_nt_xent() -> None:
    arrays = tensors("sup_nt_xent")
    for case in cases(arrays, "temperature"):
        labels, temperature = arrays[f"{case}labels"], float(arrays[f"{case}temperature"])
        value, (gradient,) = with_gradient(
            lambda z, labels=labels, t=temperature: supervised_nt_xent(z, labels, t), arrays[f"{case}z"]
        )
        assert value == pytest.approx(float(arrays[f"{case}loss"]), rel=1e-6)
        torch.testing.assert_close(gradient, arrays[f"{case}grad_z"], rtol=1e-6, atol=1e-6)


def test_unlabelled_step() -> None:
    arrays = tensors("csi_train_step")
    for case in cases(arrays, "images"):
        kind, images = case.removesuffix("_"), arrays[f"{case}images"]
        shown = assembled(images, arrays[f"{case}flip_sign"] < 0, kind)
        torch.testing.assert_close(shown, arrays[f"{case}assembled"], rtol=0, atol=1e-5)
        numbers = shift_numbers(len(images), kind).repeat(2)
        assert torch.equal(numbers, arrays[f"{case}shift_labels"])
        assert torch.equal((numbers == 0).nonzero().squeeze(1), arrays[f"{case}linear_probe_inputs_rows"])
        contrast, (_,) = with_gradient(lambda z: nt_xent(z, 0.5), arrays[f"{case}simclr"])
        assert contrast == pytest.approx(float(arrays[f"{case}loss_sim"]), abs=1e-5)
        total, gradients = with_gradient(
            lambda z, logits, kind=kind: nt_xent(z, 0.5) + shift_cross_entropy(logits, kind, views=2),
            arrays[f"{case}simclr"],
            arrays[f"{case}shift_logits"],
        )
        assert total == pytest.approx(float(arrays[f"{case}loss_total"]), abs=1e-5)
        assert total - contrast == pytest.approx(float(arrays[f"{case}loss_shift"]), abs=1e-5)
        torch.testing.assert_close(gradients[0], arrays[f"{case}grad_simclr"], rtol=0, atol=1e-5)
        torch.testing.assert_close(gradients[1], arrays[f"{case}grad_shift_logits"], rtol=0, atol=1e-5)


def test_labelled_step() -> None:
    arrays = tensors("sup_csi_train_step")
    shown = assembled(arrays["images"], arrays["flip_sign"] < 0, "rotation")
    torch.testing.assert_close(shown, arrays["assembled"], rtol=0, atol=1e-5)
    joint = joint_labels(arrays["labels"], int(arrays["n_classes"]), "rotation")
    assert torch.equal(joint, arrays["joint_labels"])
    value, (gradient,) = with_gradient(lambda z: supervised_nt_xent(z, joint, 0.07), arrays["simclr"])
    assert value == pytest.approx(float(arrays["loss"]), abs=1e-4)
    torch.testing.assert_close(gradient, arrays["grad_simclr"], rtol=0, atol=1e-4)


class Silent(nn.Module):
    """A backbone of a given width that is never called."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


def test_linear_stage() -> None:
    arrays = tensors("linear_stage_step")
    shown = assembled(arrays["images"], arrays["flip_sign"] < 0, "rotation")
    torch.testing.assert_close(shown, arrays["assembled"], rtol=0, atol=1e-5)
    features, labels, classes = arrays["penultimate"], arrays["labels"], int(arrays["n_classes"])
    assert torch.equal(shift_numbers(len(labels), "rotation"), arrays["shift_labels"])
    assert torch.equal(joint_labels(labels, classes, "rotation"), arrays["joint_labels"])
    model = ContrastiveNet(
        Silent(features.shape[1]), classes, shift="rotation", shift_head=True, labelled=True, projection=2
    )
    model.project.requires_grad_(False)
    heads = {"linear": model.head, "shift": model.shift_head, "joint": model.joint_head}
    with torch.no_grad():
        for name, head in heads.items():
            head.weight.copy_(arrays[f"{name}_w0"])
            head.bias.copy_(arrays[f"{name}_b0"])
    training = Training(momentum=0.0, weight_decay=float(arrays["weight_decay"]), augment="none")
    optimizer = build_optimizer(model, training)
    loss = linear_loss(model, features, labels)
    assert float(loss.detach()) == pytest.approx(
        sum(float(arrays[f"loss_{name}"]) for name in ("ce", "shift", "joint")), abs=1e-5
    )
    loss.backward()
    optimizer.step(float(arrays["lr"]))
    for name, head in heads.items():
        torch.testing.assert_close(head.weight.detach(), arrays[f"{name}_w1"], rtol=0, atol=1e-5)
        torch.testing.assert_close(head.bias.detach(), arrays[f"{name}_b1"], rtol=0, atol=1e-5)


def test_shifts() -> None:
    arrays = tensors("shift_transforms")
    images = arrays["x"]
    assert torch.equal(all_shifts(images, "cutperm"), arrays["cutperm"].flatten(0, 1))
    for k in range(COUNTS["rotation"]):
        assert torch.equal(shift(images, "rotation", k), arrays[f"rot{k}"])


def test_schedule() -> None:
    arrays = tensors("lr_schedule")
    for case in cases(arrays, "kind"):
        steps = int(arrays[f"{case}iters_per_epoch"])
        training = Training(
            epochs=int(arrays[f"{case}epochs"]),
            lr=float(arrays[f"{case}lr_init"]),
            schedule="gradual_multistep" if int(arrays[f"{case}kind"]) else "gradual_cosine",
            warmup_epochs=float(arrays[f"{case}warmup"]),
            warmup_factor=float(arrays[f"{case}multiplier"]),
        )
        # the rate that the schedule sets at the fractional epoch e is used one step later
        places = [round(float(e) * steps) + 1 for e in arrays[f"{case}e"]]
        np.testing.assert_allclose([p - 1 for p in places], arrays[f"{case}e"].numpy() * steps, atol=1e-6)
        rates = [training.rate(*divmod(place, steps), steps) for place in places]
        np.testing.assert_allclose(rates, arrays[f"{case}lr"].numpy(), rtol=0, atol=1e-9)
        first = [training.rate(*divmod(place, steps), steps) for place in range(2)]
        np.testing.assert_allclose(first, arrays[f"{case}first_two_used"].numpy(), rtol=0, atol=1e-9)


def test_lars() -> None:
    arrays = tensors("lars_step")
    names = sorted(key.removesuffix("_init") for key in arrays if key.endswith("_init"))
    parameters = {name: nn.Parameter(arrays[f"{name}_init"].clone()) for name in names}
    groups = [{"params": list(parameters.values()), "weight_decay": float(arrays["weight_decay"])}]
    optimizer = LARS(groups, float(arrays["momentum"]), trust=float(arrays["trust_coef"]), eps=float(arrays["eps"]))
    for step in range(int(arrays["steps"])):
        for name, parameter in parameters.items():
            parameter.grad = arrays[f"{name}_grad{step}"].clone()
        optimizer.step(float(arrays["lr"]))
        for name, parameter in parameters.items():
            torch.testing.assert_close(parameter.detach(), arrays[f"{name}_after{step}"], rtol=0, atol=1e-9)


def test_score() -> None:
    arrays = tensors("csi_score")
    shifts = int(arrays["K"])

    def means(part: str, name: str, count: int = shifts) -> Tensor:
        return csi_score.mean_over_views(arrays[f"{part}_{name}"], count)

    fitted = csi_score.fit_axes(means("train", "simclr"), means("train", "shift"))
    torch.testing.assert_close(fitted["axes"], arrays["axis"], rtol=0, atol=1e-5)
    torch.testing.assert_close(fitted["lambda_con"], arrays["weight_sim"], rtol=0, atol=1e-5)
    torch.testing.assert_close(fitted["lambda_cls"], arrays["weight_shift"], rtol=0, atol=1e-5)
    actual = {
        part: csi_score.novelty_scores(means(part, "simclr"), means(part, "shift"), fitted)
        for part in ("id", "ood0", "ood1")
    }
    for part, ours in actual.items():
        torch.testing.assert_close(ours["csi"], arrays[f"score_{part}"], rtol=0, atol=1e-5)
    torch.testing.assert_close(actual["id"]["con_si"], arrays["score_id_con_only"], rtol=0, atol=1e-5)
    torch.testing.assert_close(actual["id"]["cls_si"], arrays["score_id_shift_only"], rtol=0, atol=1e-5)
    aurocs = [auroc(actual["id"]["csi"], actual[part]["csi"]) for part in ("ood0", "ood1")]
    np.testing.assert_allclose(aurocs, arrays["auroc"], atol=1e-9)
    pooled = torch.cat((actual["ood0"]["csi"], actual["ood1"]["csi"]))
    assert auroc(actual["id"]["csi"], pooled) == pytest.approx(float(arrays["auroc_pooled"]), abs=1e-9)
    views = int(arrays["T"])
    alone = csi_score.fit_axes(csi_score.mean_over_views(arrays["train_simclr"][:, :views], 1), None)
    plain = csi_score.novelty_scores(csi_score.mean_over_views(arrays["id_simclr"][:, :views], 1), None, alone)
    assert next(iter(plain)) == "con"
    torch.testing.assert_close(plain["con"], arrays["score_id_simclr_k1"], rtol=0, atol=1e-5)
    torch.testing.assert_close(actual["id"]["con"], plain["con"])  # the part of the unturned image is the same


def auroc(known: Tensor, strange: Tensor) -> float:
    above = (known[:, None] > strange).double() + 0.5 * (known[:, None] == strange).double()
    return float(above.mean())


def test_order_of_test_time_outputs() -> None:
    arrays = tensors("feature_layout")
    images, views = arrays["x"], int(arrays["T"])
    kind = "cutperm" if int(arrays["cutperm"]) else "rotation"
    count = COUNTS[kind]
    sizes = arrays["batch_sizes"].tolist()
    noise = iter(torch.split(arrays["noise"], [count * size for size in sizes for _ in range(views)]))

    def outputs(shown: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.stack(
            (shown[:, 0, 0, 0], shown[:, 1, 0, -1], shown[:, 2, -1, 0], shown.mean((1, 2, 3))), dim=1
        )
        return features, features[:, :2]

    def view(part: Tensor, number: int) -> Tensor:
        return all_shifts(part, kind) + next(noise).view(-1, 1, 1, 1)

    parts = [csi_score.view_outputs(outputs, part, view, views, count) for part in torch.split(images, sizes)]
    for name, actual in zip(("simclr", "shift"), zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(actual), arrays[f"feat_{name}"], rtol=0, atol=1e-5)


def test_mixed_images() -> None:
    arrays = tensors("feature_layout")
    actual = mixed(arrays["interp_in"].numpy(), int(arrays["interp_batch"]))
    np.testing.assert_allclose(actual, arrays["interp_out"].numpy(), rtol=0, atol=1e-5)


def test_labelled_answers() -> None:
    arrays = tensors("sup_eval")
    classes, labels, size = int(arrays["n_classes"]), arrays["labels"].numpy(), int(arrays["batch_size"])
    logits = {"marginal": marginalised(arrays["joint_logits"], classes), "linear": arrays["linear_logits"]}
    torch.testing.assert_close(logits["marginal"], arrays["marginal_logits"], rtol=0, atol=1e-4)
    for name, score in (("marginal", "score_marginalized"), ("linear", "score_msp")):
        confidence = logits[name].double().softmax(1).amax(1)
        torch.testing.assert_close(confidence, arrays[score], rtol=0, atol=1e-4)
        right = logits[name].argmax(1).numpy() == labels
        assert 100 * (1 - right.mean()) == pytest.approx(float(arrays[f"error_{name}"]), abs=1e-4)
        whole = 100 * expected_calibration_error(confidence.numpy(), right)
        assert whole == pytest.approx(float(arrays[f"ece_full_{name}"].reshape(())), abs=1e-4)
        # the code averages over batches, which biases it upwards
        parts = [slice(start, start + size) for start in range(0, len(labels), size)]
        by_batch = sum(
            len(labels[p]) * expected_calibration_error(confidence.numpy()[p], right[p]) for p in parts
        ) / len(labels)
        assert 100 * by_batch == pytest.approx(float(arrays[f"ece_batchavg_{name}"]), abs=1e-4)
        assert by_batch >= whole / 100 - 1e-9


def test_heads() -> None:
    arrays = tensors("block_and_heads")
    images = arrays["head_in"]
    weights = {key.removeprefix("head."): value for key, value in arrays.items() if key.startswith("head.")}
    classes = len(weights["linear.bias"])
    model = ContrastiveNet(
        Passing(images.shape[1]), classes, shift="rotation", shift_head=True, labelled=True,
        projection=len(weights["simclr_layer.2.bias"]),
    )  # fmt: skip
    names = {
        "linear": "head",
        "simclr_layer.0": "project.0",
        "simclr_layer.2": "project.2",
        "shift_cls_layer": "shift_head",
        "joint_distribution_layer": "joint_head",
    }
    state = {f"{names[key.rsplit('.', 1)[0]]}.{key.rsplit('.', 1)[1]}": value for key, value in weights.items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= {"mean", "std"}
    model.eval()
    features = model.embed(images)
    projections, shift_logits = model.outputs(images)
    for actual, name in (
        (features, "penultimate"),
        (projections, "simclr"),
        (shift_logits, "shift"),
        (model.head(features), "linear"),
        (model.joint_head(features), "joint"),
    ):
        torch.testing.assert_close(actual.detach(), arrays[f"head_{name}"], rtol=0, atol=1e-4)


class Passing(nn.Module):
    """A backbone whose features are its inputs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_residual_block() -> None:
    arrays = tensors("block_and_heads")
    weights = {key.removeprefix("block."): value for key, value in arrays.items() if key.startswith("block.")}
    names = {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2"}
    state = {}
    for key, value in weights.items():
        module, tensor = key.rsplit(".", 1)
        state[f"{names.get(module, module)}.{tensor}"] = value
    outputs, inputs = weights["conv1.weight"].shape[:2]
    stride = arrays["block_in"].shape[2] // arrays["block_out_eval"].shape[2]
    block = Basic(inputs, outputs, stride)
    missing = block.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    block.eval()
    torch.testing.assert_close(block(arrays["block_in"].clone()).detach(), arrays["block_out_eval"], rtol=0, atol=1e-4)
    block.train()
    torch.testing.assert_close(block(arrays["block_in"].clone()).detach(), arrays["block_out_train"], rtol=0, atol=1e-4)
    for name in ("mean", "var"):
        actual = getattr(block.norm1, f"running_{name}")
        torch.testing.assert_close(actual, arrays[f"block_bn1_running_{name}_after"], rtol=0, atol=1e-4)
