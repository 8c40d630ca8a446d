"""Generalized ODIN: reference values of heads, steps and input preprocessing; properties of the scores."""

import numpy as np
import pytest
import torch
from golden_files import load
from tiny_problem import Net, image_set, problem, run
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.optimizers import build_optimizer, decay_groups
from reprood.engine.problem import ImageSet
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import godin
from reprood.methods.godin import Config, DecomposedConfidence

Arrays = dict[str, np.ndarray]
DIVISOR = {"linear.weight": "w_g", "linear.bias": "b_g", "norm.weight": "bn_gamma", "norm.bias": "bn_beta"}


class Toy(nn.Module):
    """z = f(A vec(x) + a)."""

    def __init__(self, arrays: Arrays, function) -> None:
        super().__init__()
        self.width = arrays["W"].shape[1]
        self.matrix = nn.Parameter(torch.from_numpy(arrays["A"].copy()))
        self.offset = nn.Parameter(torch.from_numpy(arrays["a"].copy()))
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images.flatten(1) @ self.matrix.T + self.offset)


class Same(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def make(head: str, backbone: nn.Module, arrays: Arrays) -> DecomposedConfidence:
    model = DecomposedConfidence(backbone, head, len(arrays["W"])).double()
    state = {"numerator.weight": arrays["W"], **{f"divisor.{k}": arrays[v] for k, v in DIVISOR.items()}}
    if head == "inner":
        state["numerator.bias"] = arrays["b"]
    for name in ("running_mean", "running_var"):
        if f"bn_{name}" in arrays:
            state[f"divisor.norm.{name}"] = arrays[f"bn_{name}"]
    model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in state.items()}, strict=False)
    if "bn_eps" in arrays:
        model.divisor.norm.eps = float(arrays["bn_eps"])
        model.divisor.norm.momentum = float(arrays["bn_momentum"])
        model.numerator.norm_eps = float(arrays["norm_eps"])
    return model


def close(ours: Tensor | None, theirs: np.ndarray, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    assert ours is not None
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=rtol, atol=atol)


@pytest.mark.golden
@pytest.mark.parametrize("head", ["cosine", "euclid", "inner"])
def test_heads_and_loss(head) -> None:
    arrays = load("godin", "heads_loss")
    model = make(head, Same(arrays["W"].shape[1]), arrays)
    features = torch.from_numpy(arrays["feat"]).requires_grad_()
    model.eval()
    h, g = model.heads(features)
    close(h, arrays[f"h_{head}"])
    close(g, arrays["g_eval"])
    close(model(features), arrays[f"f_eval_{head}"])
    model.train()
    logits = model(features)
    close(logits, arrays[f"f_train_{head}"])
    close(model.divisor.norm.running_mean, arrays["bn_running_mean_after"])
    close(model.divisor.norm.running_var, arrays["bn_running_var_after"])
    loss = functional.cross_entropy(logits, torch.from_numpy(arrays["labels"]))
    loss.backward()
    close(loss, arrays[f"loss_train_{head}"])
    close(features.grad, arrays[f"grad_feat_{head}"])
    close(model.numerator.weight.grad, arrays[f"grad_W_{head}"])
    close(model.divisor.linear.weight.grad, arrays[f"grad_wg_{head}"])
    close(model.divisor.linear.bias.grad, arrays[f"grad_bg_{head}"], atol=1e-10)
    close(model.divisor.norm.weight.grad, arrays[f"grad_gamma_{head}"])
    close(model.divisor.norm.bias.grad, arrays[f"grad_beta_{head}"])
    if head == "inner":
        close(model.numerator.bias.grad, arrays["grad_b_inner"])


@pytest.mark.golden
@pytest.mark.parametrize("head", ["cosine", "euclid", "inner"])
def test_input_preprocessing(head) -> None:
    arrays = load("godin", "input_preprocessing")
    model = make(head, Toy(arrays, torch.sin), arrays).eval()
    images, std = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["std"])
    kinds = {
        "h": godin.h_score(model),
        "g": lambda x: model.heads(model.features(x))[1][:, 0],
        "logit": lambda x: model(x).amax(1),
    }
    epsilons = arrays["eps"].tolist()
    for kind, score in kinds.items():
        direction, _ = godin.step_direction(images, score)
        rows = [score(godin.stepped(images, direction, epsilon, std)) for epsilon in epsilons]
        for row, expected in zip(rows, arrays[f"score_{head}_{kind}"], strict=True):
            close(row, expected, rtol=0, atol=1e-5)
        means = [float(row.mean().detach()) for row in rows]
        np.testing.assert_allclose(means, arrays[f"mean_score_{head}_{kind}"], atol=1e-5)
        assert godin.choose_epsilon(epsilons, means) == epsilons[int(arrays[f"best_eps_index_{head}_{kind}"])]
    # The same through the functions that predict calls, which choose on h.
    model.input_std.copy_(std)
    config = Config(head=head, epsilons=tuple(epsilons))
    fitted = godin.fit_scores(model, ImageSet(images, torch.zeros(len(images))), config, {})
    assert fitted["epsilon"] == epsilons[int(arrays[f"best_eps_index_{head}_h"])]
    columns = godin.scores(model, images, config, fitted)
    for i, epsilon in enumerate(epsilons):
        close(columns[f"godin_h_eps_{epsilon:g}"], arrays[f"score_{head}_h"][i], rtol=0, atol=1e-5)
        assert fitted[f"mean_h_{epsilon:g}"] == pytest.approx(float(arrays[f"mean_score_{head}_h"][i]), abs=1e-5)
    close(columns["godin_h_star"], arrays[f"score_{head}_h"][int(arrays[f"best_eps_index_{head}_h"])], 0, 1e-5)
    if head == "cosine":
        hat = godin.preprocess(images, kinds["h"], epsilons[2], std)
        close(hat, arrays["x_hat_cosine_h_eps2"], rtol=0, atol=1e-5)
        other = torch.from_numpy(arrays["openood_std"])
        hat = godin.preprocess(images, kinds["h"], float(arrays["openood_eps"]), other)
        confidence, prediction = model.heads(model.features(hat))[0].softmax(1).max(1)
        close(confidence, arrays["openood_conf_cosine_h"], rtol=0, atol=1e-5)
        close(prediction, arrays["openood_pred_cosine_h"])


@pytest.mark.golden
@pytest.mark.parametrize("head", ["cosine", "inner"])
def test_sgd_steps(head) -> None:
    arrays = load("godin", "sgd_steps")
    model = make(head, Toy(arrays, torch.tanh), arrays).train()
    training = Training(momentum=float(arrays["momentum"]), weight_decay=float(arrays["weight_decay"]))
    optimizer = build_optimizer(model, training, decay_groups(model, model.numerator.parameters()))
    losses = []
    for images, labels in zip(arrays["x"], arrays["labels"], strict=True):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step(float(arrays["lr"]))
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(losses, arrays[f"losses_{head}"], rtol=1e-7)
    after = {"A": model.backbone.matrix, "a": model.backbone.offset, "W": model.numerator.weight}
    after |= {key: model.divisor.get_parameter(name) for name, key in DIVISOR.items()}
    after |= {f"bn_running_{name}": getattr(model.divisor.norm, f"running_{name}") for name in ("mean", "var")}
    if head == "inner":
        after["b"] = model.numerator.bias
    for key, value in after.items():
        close(value, arrays[f"{key}_after_{head}"], rtol=1e-7)


def small(head: str = "cosine", classes: int = 4) -> DecomposedConfidence:
    with seeded(3):
        model = DecomposedConfidence(Net(1), head, classes)
        nn.init.normal_(model.divisor.norm.weight) if head != "plain" else None
    return model.eval()


@pytest.mark.parametrize("head", ["cosine", "euclid", "inner"])
def test_heads_against_loops(head) -> None:
    model = small(head)
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    h, g = (part.detach().double().numpy() for part in model.heads(features))
    z, w = features.double().numpy(), model.numerator.weight.detach().double().numpy()
    for b in range(5):
        for i in range(4):
            slow = {
                "inner": z[b] @ w[i],
                "euclid": -np.mean((z[b] - w[i]) ** 2),
                "cosine": z[b] @ w[i] / (np.linalg.norm(z[b]) + 1e-4) / (np.linalg.norm(w[i]) + 1e-4),
            }[head]
            assert h[b, i] == pytest.approx(slow, abs=1e-5)
        norm, linear = model.divisor.norm, model.divisor.linear
        u = float(linear(features[b : b + 1]).detach())
        u = (u - float(norm.running_mean)) / np.sqrt(float(norm.running_var) + norm.eps)
        u = u * float(norm.weight.detach()) + float(norm.bias.detach())
        assert g[b, 0] == pytest.approx(1 / (1 + np.exp(-u)), abs=1e-5)


@pytest.mark.parametrize("width", [3, 10])
def test_deconf_e_with_the_papers_sum(width) -> None:
    """-|z - w|^2, d times the mean that the re-implementations take; the divisor is not concerned."""
    features, weight = (
        torch.randn(4, width, generator=torch.Generator().manual_seed(1)),
        torch.randn(5, width, generator=torch.Generator().manual_seed(2)),
    )
    expected = -(torch.cdist(features.double(), weight.double()) ** 2)
    torch.testing.assert_close(godin.euclid_numerator(features, weight, "sum").double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(godin.euclid_numerator(features, weight), expected.float() / width, rtol=1e-5, atol=1e-5)
    with seeded(0):
        models = [godin.build(Config(head="euclid", euclid=kind), Net(1), 3).eval() for kind in ("mean", "sum")]
    models[1].load_state_dict(models[0].state_dict())
    features = models[0].features(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3)))
    (mean, first), (total, second) = (model.heads(features) for model in models)
    torch.testing.assert_close(total, features.shape[1] * mean)
    assert torch.equal(first, second)


@pytest.mark.parametrize("head", ["cosine", "euclid", "inner"])
def test_divisor_is_positive_and_keeps_the_class(head) -> None:
    model = small(head)
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 5
    h, g = model.heads(model.features(images))
    assert bool((g > 0).all())
    assert bool((g < 1).all())
    assert torch.equal(h.argmax(1), model(images).argmax(1))


def test_zero_features_give_zero_cosine_and_finite_gradients() -> None:
    features = torch.zeros(2, 5, requires_grad=True)
    weight = torch.randn(3, 5)
    h = godin.cosine_numerator(features, weight)
    h.sum().backward()
    assert torch.equal(h, torch.zeros(2, 3))
    assert bool(features.grad.isfinite().all())


def test_first_of_equal_steps_wins() -> None:
    assert godin.choose_epsilon([0.1, 0.2, 0.4], [1.0, 3.0, 3.0]) == 0.2
    assert godin.choose_epsilon([0.1, 0.2], [1.0, 1.0]) == 0.1
    assert godin.choose_epsilon([0.1, 0.2], [-2.0, -1.0]) == 0.2


def test_zero_gradient_steps_upwards() -> None:
    images = torch.zeros(2, 1, 3, 3)
    direction, _ = godin.step_direction(images, lambda x: (x * 0).sum((1, 2, 3)))
    assert torch.equal(direction, torch.ones_like(images))


def test_scores_and_choice() -> None:
    model = small()
    model.input_std.fill_(0.25)
    validation = ImageSet(torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.zeros(300))
    config = Config()
    fitted = godin.fit_scores(model, validation, config, {})
    assert fitted["epsilon"] in config.epsilons
    assert fitted["mean_h_0.0025"] > fitted["mean_h"]  # a small step raises S
    assert godin.fit_scores(model, validation, Config(halve_epsilon=True), {})["epsilon"] == fitted["epsilon"] / 2
    columns = godin.scores(model, validation.images, config, fitted)
    assert set(columns) == {"godin_h", "godin_h_star", "godin_g", *(f"godin_h_eps_{e:g}" for e in config.epsilons)}
    assert all(value.dtype == torch.float64 and value.shape == (300,) for value in columns.values())
    assert torch.equal(columns["godin_h_star"], columns[f"godin_h_eps_{fitted['epsilon']:g}"])
    assert float(columns["godin_h"].mean()) == pytest.approx(fitted["mean_h"], abs=1e-6)
    assert float(columns["godin_h_star"].mean()) == pytest.approx(
        max(value for key, value in fitted.items() if key.startswith("mean_h_")), abs=1e-6
    )
    few = godin.scores(model, validation.images, Config(grid_scores=False), fitted)
    assert set(few) == {"godin_h", "godin_h_star", "godin_g"}
    # In evaluation mode an image's score does not depend on its neighbours, and no gradient is left behind.
    alone = godin.scores(model, validation.images[:1], config, fitted)
    assert float(alone["godin_h_star"][0]) == pytest.approx(float(columns["godin_h_star"][0]), abs=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not validation.images.requires_grad


def test_plain_baseline() -> None:
    model = small("plain")
    images = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        model.divisor.value.fill_(0.5)
        weight, bias = model.linear_head()
        torch.testing.assert_close(model(images), model.features(images) @ weight.T + bias)
    assert "godin_g" not in godin.scores(model, images, Config(head="plain"), {"epsilon": 0.01})
    assert small("inner").linear_head() is None


@pytest.mark.parametrize("decayed", [False, True])
def test_numerator_is_not_decayed(tmp_path, decayed) -> None:
    """With no gradient on anything, decay alone moves the weights."""
    training = Training(
        epochs=1, batch_size=16, lr=0.5, weight_decay=0.1, momentum=0.0, augment="none", schedule="constant"
    )
    config = Config(training=training, decay_numerator=decayed)
    job = run(tmp_path)
    with seeded(job.seed("initialisation")):
        start = DecomposedConfidence(Net(1), "cosine", 3)

    original = functional.cross_entropy
    try:
        functional.cross_entropy = lambda logits, labels: logits.sum() * 0
        model, _ = godin.train(problem(16), config, job)
    finally:
        functional.cross_entropy = original
    factor = 1 - 0.5 * 0.1
    torch.testing.assert_close(model.numerator.weight, start.numerator.weight * (factor if decayed else 1))
    torch.testing.assert_close(model.divisor.linear.weight, start.divisor.linear.weight * factor)
    torch.testing.assert_close(model.divisor.norm.weight, start.divisor.norm.weight * factor)
    torch.testing.assert_close(model.backbone.conv.weight, start.backbone.conv.weight * factor)


def test_last_batch_of_one_is_left_out(tmp_path) -> None:
    training = Config().training.model_copy(update={"epochs": 1, "batch_size": 16, "lr": 0.01})
    task = problem(33)
    _, rows = godin.train(task, Config(training=training), run(tmp_path))
    assert len(rows) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("head", ["cosine", "euclid", "inner", "plain"])
def test_training_learns(tmp_path, head, precision) -> None:
    training = Training(epochs=8, batch_size=16, lr=0.05, crop_padding=1, monitor_every=8)
    model, rows = godin.train(problem(96), Config(training=training, head=head), run(tmp_path, precision=precision))
    assert rows[-1]["validation_error"] < 40
    torch.testing.assert_close(model.input_std, torch.full((3,), 0.2))
    assert model.heads(torch.randn(2, 8).bfloat16())[0].dtype == torch.float32


def test_defaults_are_the_papers() -> None:
    config = Config()
    assert (config.head, config.decay_numerator, config.halve_epsilon) == ("cosine", False, False)
    assert config.epsilons == (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
    training = config.training
    assert (training.epochs, training.batch_size, training.lr, training.weight_decay) == (300, 64, 0.1, 1e-4)
    assert (training.momentum, training.nesterov, training.schedule) == (0.9, False, "multistep")
    with pytest.raises(ValueError, match="ascending"):
        Config(epsilons=(0.02, 0.01))
    assert len(image_set(3)) == 3
