"""DIAS' networks, losses and training steps against values computed by the authors' code."""

from collections.abc import Iterator
from contextlib import nullcontext

import golden_files
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.optimizers import SGD, Adam
from reprood.methods.dias.dcgan import Discriminator, Generator
from reprood.methods.dias.net import GENERATED, REAL, StagedClassifier
from reprood.methods.dias.step import Adversaries, Weights, copycat_step, gan_step, smoothed_cross_entropy
from reprood.nets.staged import Staged, build

pytestmark = pytest.mark.golden

Arrays = dict[str, np.ndarray]


def tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.array(array))


def close(found: Tensor, wanted: np.ndarray | Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found.detach(), torch.as_tensor(wanted).to(found.dtype), rtol=0, atol=tolerance)


def tiny(arrays: Arrays, prefix: str) -> StagedClassifier:
    """The golden files' small classifier: one convolution a stage, no dropout."""
    weights = [arrays[f"{prefix}_conv{i}_weight"] for i in (1, 2, 3)]
    stages = [[(len(weight), stride)] for weight, stride in zip(weights, (1, 2, 2))]
    net = StagedClassifier(Staged(weights[0].shape[1], stages, 0.0), len(arrays[f"{prefix}_fc_weight"])).double()
    for place, wanted in values(net, arrays, prefix):
        place.data.copy_(tensor(wanted))
    return net


def values(net: StagedClassifier, arrays: Arrays, prefix: str) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield every parameter and statistic with its golden array."""
    for i, stage in enumerate(net.backbone.stages, start=1):
        yield stage.units[0].conv.weight, arrays[f"{prefix}_conv{i}_weight"]
        for number, norm in enumerate(stage.units[0].norms):
            for name in ("weight", "bias", "running_mean", "running_var"):
                yield getattr(norm, name), arrays[f"{prefix}_bn{i}_bns_{number}_{name}"]
    yield net.head.weight, arrays[f"{prefix}_fc_weight"]


def sgd(net: nn.Module, arrays: Arrays) -> SGD:
    groups = [{"params": list(net.parameters()), "weight_decay": float(arrays["weight_decay"])}]
    return SGD(groups, float(arrays["momentum"]), False)


def norm_values(norm: nn.BatchNorm2d, arrays: Arrays, prefix: str) -> Iterator[tuple[Tensor, np.ndarray]]:
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield getattr(norm, name), arrays[f"{prefix}_bn_{name}"]


def generator_values(net: Generator, arrays: Arrays, prefix: str) -> Iterator[tuple[Tensor, np.ndarray]]:
    yield net.grow[0].weight, arrays[f"{prefix}_ct1_weight"]
    yield net.grow[1].weight, arrays[f"{prefix}_ct2_weight"]
    yield from norm_values(net.norms[0], arrays, prefix)


class TinyDiscriminator(nn.Module):
    """The golden file's; its last convolution is normalised, which that of the full size is not."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        first, second = (arrays[f"discriminator_before_conv{i}_weight"].shape for i in (1, 2))
        self.conv1 = nn.Conv2d(first[1], first[0], 4, 2, 1, bias=False)
        self.conv2 = nn.Conv2d(second[1], second[0], 3, 1, 0, bias=False)
        self.bn = nn.BatchNorm2d(second[0])
        self.lin = nn.Linear(second[0], 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.bn(self.conv2(functional.leaky_relu(self.conv1(images), 0.2))).sigmoid()
        return self.lin(maps.mean((2, 3))).squeeze(1)

    def values(self, arrays: Arrays, prefix: str) -> Iterator[tuple[Tensor, np.ndarray]]:
        yield self.conv1.weight, arrays[f"{prefix}_conv1_weight"]
        yield self.conv2.weight, arrays[f"{prefix}_conv2_weight"]
        yield from norm_values(self.bn, arrays, prefix)
        yield self.lin.weight, arrays[f"{prefix}_lin_weight"]
        yield self.lin.bias, arrays[f"{prefix}_lin_bias"]


def test_smoothed_cross_entropy() -> None:
    arrays = golden_files.load("dias", "smoothed_cross_entropy")
    assert int(arrays["n_cases"]) > 0
    for i in range(int(arrays["n_cases"])):
        logits = tensor(arrays[f"c{i}_logits"]).requires_grad_()
        loss = smoothed_cross_entropy(logits, tensor(arrays[f"c{i}_labels"]), float(arrays[f"c{i}_alpha"]))
        loss.backward()
        close(loss, arrays[f"c{i}_loss"], 1e-6)
        close(logits.grad, arrays[f"c{i}_grad_logits"], 1e-6)


def test_copycat_step() -> None:
    arrays = golden_files.load("dias", "copycat_step")
    classifier, copycat = tiny(arrays, "classifier_before"), tiny(arrays, "copycat_before")
    weights = Weights(
        float(arrays["smoothing"]),
        float(arrays["smoothing2"]),
        float(arrays["fake_ratio"]),
        float(arrays["pull_ratio"]),
    )
    found = copycat_step(
        classifier, sgd(classifier, arrays), copycat, sgd(copycat, arrays), tensor(arrays["x"]),
        tensor(arrays["labels"]), float(arrays["lr"]), weights, nullcontext,
    )  # fmt: skip
    names = {
        "copycat_cross_entropy": "copycat_ce", "copycat_pull": "pull", "cross_entropy": "classifier_ce",
        "easy": "easy_fc_only", "hard_first": "hard_from_stage1", "hard_second": "hard_from_stage2",
    }  # fmt: skip
    for ours, theirs in names.items():
        close(found[ours], arrays[f"loss_{theirs}"], 1e-8)
    for prefix, net in (("classifier_after", classifier), ("copycat_after", copycat)):
        for place, wanted in values(net, arrays, prefix):
            close(place, wanted, 1e-8)


def test_gan_step() -> None:
    arrays = golden_files.load("dias", "gan_step")
    classifier = tiny(arrays, "classifier_before")
    shape = arrays["generator_before_ct1_weight"].shape
    generator = Generator(shape[0], arrays["x"].shape[1], arrays["x"].shape[2], shape[1]).double()
    discriminator = TinyDiscriminator(arrays).double()
    for place, wanted in generator_values(generator, arrays, "generator_before"):
        place.data.copy_(tensor(wanted))
    for place, wanted in discriminator.values(arrays, "discriminator_before"):
        place.data.copy_(tensor(wanted))
    betas = float(arrays["adam_beta1"]), float(arrays["adam_beta2"])
    adversaries = Adversaries(
        generator, discriminator, Adam(generator.parameters(), betas), Adam(discriminator.parameters(), betas),
        float(arrays["lr_gan"]),
    )  # fmt: skip
    weights = Weights(fake_smoothing=float(arrays["smoothing2"]), beta=float(arrays["beta"]))
    found = gan_step(
        classifier, sgd(classifier, arrays), adversaries, tensor(arrays["x"]), tensor(arrays["labels"]),
        (tensor(arrays["noise_first"]), tensor(arrays["noise_second"])), float(arrays["lr_classifier"]), weights,
        nullcontext,
    )  # fmt: skip
    names = {
        "discriminator_real": "d_real", "discriminator_fake": "d_fake", "generator_adversarial": "g_adversarial",
        "generator_uniform": "g_uniform_ce", "gan_cross_entropy": "classifier_ce",
        "moderate": "classifier_uniform_ce_on_fake",
    }  # fmt: skip
    for ours, theirs in names.items():
        close(found[ours], arrays[f"loss_{theirs}"], 1e-8)
    after = [
        *values(classifier, arrays, "classifier_after"),
        *generator_values(generator, arrays, "generator_after"),
        *discriminator.values(arrays, "discriminator_after"),
    ]
    for place, wanted in after:
        close(place, wanted, 1e-8)


def test_classifier_of_full_size() -> None:
    arrays = golden_files.load("dias", "classifier_forward")
    chance = np.random.RandomState(int(arrays["seed"]))
    classes, norms = int(arrays["num_classes"]), int(arrays["bn_domain"])
    net = StagedClassifier(build(arrays["x"].shape[1]), classes).double().eval()
    units = [unit for stage in net.backbone.stages for unit in stage.units]
    for unit in units:
        unit.conv.weight.data = tensor(chance.randn(*unit.conv.weight.shape) * 0.05)
    for unit in units:
        for norm in unit.norms:
            fill(norm, chance)
    net.head.weight.data = tensor(chance.randn(*net.head.weight.shape) * 0.1)
    first, second, features = net.backbone.outputs(tensor(arrays["x"]), norms)
    assert list(first.shape) == arrays["stage1_shape"].tolist()
    assert list(second.shape) == arrays["stage2_shape"].tolist()
    close(first[:, ::16, ::4, ::4], arrays["stage1_sub"], 1e-8)
    close(second[:, ::8, ::2, ::2], arrays["stage2_sub"], 1e-8)
    close(features, arrays["feature"], 1e-8)
    close(net(tensor(arrays["x"]), norms), arrays["logits"], 1e-8)
    assert norms in (REAL, GENERATED)
    for behind, maps in ((1, 0.5 * first + 0.1), (2, 0.5 * second + 0.1)):
        logits = net.head(net.backbone.features_from(maps, behind, norms))
        close(logits, arrays[f"logits_from_stage{behind}"], 1e-8)
        if norms == REAL:
            close(net.logits_from(maps, behind), arrays[f"logits_from_stage{behind}"], 1e-8)
    close(net.head(0.5 * features), arrays["logits_fc_only"], 1e-8)


def fill(norm: nn.BatchNorm2d, chance: np.random.RandomState) -> None:
    """Weights and statistics from the stated stream."""
    count = norm.num_features
    norm.weight.data = tensor(1 + 0.1 * chance.randn(count)).to(norm.weight.dtype)
    norm.bias.data = tensor(0.1 * chance.randn(count)).to(norm.bias.dtype)
    norm.running_mean.data = tensor(0.1 * chance.randn(count)).to(norm.running_mean.dtype)
    norm.running_var.data = tensor(0.5 + chance.rand(count)).to(norm.running_var.dtype)


def test_gan_of_full_size() -> None:
    arrays = golden_files.load("dias", "gan_forward")
    chance = np.random.RandomState(int(arrays["seed"]))
    noise, real = tensor(arrays["noise"]).float(), tensor(arrays["x_for_discriminator"]).float()
    generator = Generator(noise.shape[1], real.shape[1], real.shape[2], 128)
    discriminator = Discriminator(real.shape[1], real.shape[2], 128)
    for i, grow in enumerate(generator.grow):
        grow.weight.data = tensor(chance.randn(*grow.weight.shape) * 0.05).float()
        if i < len(generator.norms):
            fill(generator.norms[i], chance)
    for i, shrink in enumerate([*discriminator.shrink, discriminator.last]):
        shrink.weight.data = tensor(chance.randn(*shrink.weight.shape) * 0.05).float()
        if 0 < i <= len(discriminator.norms):
            fill(discriminator.norms[i - 1], chance)
    discriminator.head.weight.data = tensor(chance.randn(*discriminator.head.weight.shape) * 0.05).float()
    discriminator.head.bias.data = tensor(chance.randn(1) * 0.05).float()
    generator.eval()
    discriminator.eval()
    images = generator(noise)
    close(images, arrays["images_eval"], 1e-5)
    close(discriminator(images).sigmoid(), arrays["prob_real_of_generated_eval"], 1e-5)
    close(discriminator(real).sigmoid(), arrays["prob_real_of_x_eval"], 1e-5)
    images = generator.train()(noise)
    close(images[:, :, ::4, ::4], arrays["images_train_mode_sub"], 1e-5)
    close(discriminator.train()(images).sigmoid(), arrays["prob_real_train_mode"], 1e-5)
