"""Generalized ODIN: decomposed confidence, and an input step whose size is chosen on in-distribution images alone.

Y.-C. Hsu, Y. Shen, H. Jin, Z. Kira: Generalized ODIN: Detecting Out-of-distribution Image without Learning from
Out-of-distribution Data, CVPR 2020, arXiv 2002.11297. The logits are a quotient,

    f_i(x) = h_i(x) / g(x),   after   p(y | d_in, x) = p(y, d_in | x) / p(d_in | x),

the score is S(x) = max_i h_i(x), and at test time S is taken at

    x^ = x - eps * sign(-dS/dx),   eps = argmax over a grid of the sum of S(x^) over ID validation images.

There is no official code: details that the paper leaves open follow the best known re-implementation, as stated where
they occur.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.optimizers import decay_groups
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.base import History, Method, Paper
from reprood.nets.classifier import width_of

Head = Literal["cosine", "euclid", "inner", "plain"]
Reduction = Literal["mean", "sum"]
Score = Callable[[Tensor], Tensor]
NORM_EPS = 1e-4
SCORE_BATCH = 250


class Config(BaseModel):
    """Settings; the defaults are the paper's (DeConf-C on DenseNet-BC-100).

    Attributes
    ----------
    training : Training
    head : {"cosine", "euclid", "inner", "plain"}
        Numerator h of DeConf-C, -E, -I; "plain" is the baseline: inner numerator over one trainable number.
    euclid : {"mean", "sum"}
        DeConf-E's distance: the mean over the features, as in the known re-implementations, or the paper's sum.
    decay_numerator : bool
        Apply weight decay to the numerator's parameters too (the paper does not).
    epsilons : tuple of float
        Step sizes to choose from, ascending, in units of [0, 1] pixels.
    halve_epsilon : bool
        Use half of the chosen step, as two codes close to the authors do; not in the paper's formula.
    grid_scores : bool
        Also return the score at every step size, for judging the choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(lr=0.1, weight_decay=1e-4, schedule="multistep", smallest_batch=2)
    head: Head = "cosine"
    euclid: Reduction = "mean"
    decay_numerator: bool = False
    epsilons: tuple[float, ...] = Field(default=(0.0025, 0.005, 0.01, 0.02, 0.04, 0.08), min_length=1)
    halve_epsilon: bool = False
    grid_scores: bool = True

    @field_validator("epsilons")
    @classmethod
    def _ascending(cls, epsilons: tuple[float, ...]) -> tuple[float, ...]:
        if any(epsilon < 0 for epsilon in epsilons) or list(epsilons) != sorted(set(epsilons)):
            raise ValueError("must be ascending, without repetition, and not negative")
        return epsilons


# --- decomposed confidence: f_i(x) = h_i(x) / g(x) ---


def inner_numerator(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return DeConf-I's h_i = w_i . z + b_i: features [B, d] and weight [K, d] to [B, K].

    Examples
    --------
    >>> inner_numerator(torch.tensor([[1.0, 2.0]]), torch.eye(2), torch.tensor([0.0, 1.0]))
    tensor([[1., 3.]])
    """
    outcome: Tensor = functional.linear(features, weight, bias)
    return outcome


def euclid_numerator(features: Tensor, weight: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Return DeConf-E's h_i = - mean over k of (z_k - w_ik)^2: features [B, d] and weight [K, d] to [B, K].

    The mean over the d features is the re-implementations'; the paper's `reduction` "sum" is d times this.

    Examples
    --------
    >>> euclid_numerator(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    tensor([[-0., -2.]])
    """
    squares = (features.unsqueeze(1) - weight).square()
    return -(squares.mean(2) if reduction == "mean" else squares.sum(2))


def cosine_numerator(features: Tensor, weight: Tensor, norm_eps: float = NORM_EPS) -> Tensor:
    """Return DeConf-C's h_i = (z . w_i) / (|z| |w_i|): features [B, d] and weight [K, d] to [B, K].

    `norm_eps` is added to each norm, so that z = 0 gives 0.

    Examples
    --------
    >>> cosine_numerator(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 5.0]]), norm_eps=0.0)
    tensor([[1., 0.]])
    """
    unit_features = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + norm_eps)
    unit_weight = weight / (torch.linalg.vector_norm(weight, dim=1, keepdim=True) + norm_eps)
    outcome: Tensor = unit_features @ unit_weight.T
    return outcome


class Numerator(nn.Module):
    """The numerator h of each kind of head; Kaiming-normal weights (fan-in), zero bias."""

    def __init__(self, head: Head, width: int, classes: int, euclid: Reduction = "mean") -> None:
        super().__init__()
        self.head = head
        self.euclid = euclid
        self.norm_eps = NORM_EPS
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(classes)) if head in ("inner", "plain") else None

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, d] to h [B, K]."""
        if self.head == "cosine":
            return cosine_numerator(features, self.weight, self.norm_eps)
        if self.head == "euclid":
            return euclid_numerator(features, self.weight, self.euclid)
        assert self.bias is not None
        return inner_numerator(features, self.weight, self.bias)


class Divisor(nn.Module):
    """g = sigmoid(BN(w_g . z + b_g)) in (0, 1), one number per image: a learned inverse temperature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.norm = nn.BatchNorm1d(1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, d] to g [B, 1]."""
        return torch.sigmoid(self.norm(self.linear(features)))


class ConstantDivisor(nn.Module):
    """One trainable number for all images, initially 1: the baseline's divisor."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, d] to g [B, 1]."""
        return self.value.expand(len(features), 1)


class DecomposedConfidence(nn.Module):
    """A backbone with logits f = h / g; both heads compute in fp32 whatever the precision of the backbone.

    The buffer `input_std` [3] holds the standard deviation of the input normalisation (for grey images three times the
    same number). The input step needs it, so it is stored with the weights.
    """

    input_std: Tensor

    def __init__(self, backbone: nn.Module, head: Head, classes: int, euclid: Reduction = "mean") -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width_of(backbone)
        self.numerator = Numerator(head, self.width, classes, euclid)
        self.divisor: nn.Module = ConstantDivisor() if head == "plain" else Divisor(self.width)
        self.register_buffer("input_std", torch.ones(3))

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features z = phi(x): images [B, C, H, W] to [B, d]."""
        features: Tensor = self.backbone(images)
        return features

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return numerators h [B, K] and divisor g [B, 1] of features [B, d]."""
        with torch.autocast(features.device.type, enabled=False):
            if features.dtype in (torch.bfloat16, torch.float16):
                features = features.float()
            return self.numerator(features), self.divisor(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits f = h / g, [B, K]."""
        return self.logits_of(self.features(images))

    def logits_of(self, features: Tensor) -> Tensor:
        """Return logits f = h / g [B, K] of features [B, d]."""
        h, g = self.heads(features)
        return h / g

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return weight [K, d] and bias [K] of the baseline's affine head; None for quotients, which are not affine."""
        if not isinstance(self.divisor, ConstantDivisor) or self.numerator.bias is None:
            return None
        scale = self.divisor.value.detach()
        return self.numerator.weight.detach() / scale, self.numerator.bias.detach() / scale[0]


# --- training ---


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """Return the untrained network."""
    return DecomposedConfidence(backbone, config.head, classes, config.euclid)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train by cross-entropy of softmax(h / g), without weight decay on the numerator's parameters."""
    with seeded(run.seed("initialisation")):
        model = DecomposedConfidence(problem.backbone(), config.head, problem.classes, config.euclid)
    model.input_std.copy_(torch.tensor(problem.std))
    groups = None if config.decay_numerator else decay_groups(model, model.numerator.parameters())

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(network(batch.images), batch.labels)

    return model, fit(model, loss, problem.train, config.training, run, problem=problem, groups=groups)


# --- input preprocessing: a step that raises S, whose size is chosen on in-distribution images ---


def step_direction(images: Tensor, score: Score) -> tuple[Tensor, Tensor]:
    """Return the sign of dS/dx, with +1 for exact zeros, and S itself.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Normalised.
    score : callable
        Maps images to S [B]; in evaluation mode, so that images do not influence each other.

    Returns
    -------
    direction : Tensor [B, C, H, W]
    scores : Tensor [B]
    """
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        values = score(inputs)
        (gradient,) = torch.autograd.grad(values.sum(), inputs)
    return torch.where(gradient >= 0, 1.0, -1.0).to(images.dtype), values.detach()


def stepped(images: Tensor, direction: Tensor, epsilon: float, std: Tensor) -> Tensor:
    """Return images + eps * sign(dS/dx) / sigma_c: eps is in units of [0, 1] pixels, hence the division.

    `std` holds sigma of each channel; entries beyond the images' channels are not used.

    Examples
    --------
    >>> image, std = torch.zeros(1, 1, 1, 2), torch.tensor([0.5])
    >>> stepped(image, torch.tensor([[[[1.0, -1.0]]]]), 0.01, std)
    tensor([[[[ 0.0200, -0.0200]]]])
    """
    return images + epsilon * direction / std[: images.shape[1]].to(images.dtype).view(1, -1, 1, 1)


def preprocess(images: Tensor, score: Score, epsilon: float, std: Tensor) -> Tensor:
    """Return the input x^ that raises S (the paper writes x - eps * sign(-dS/dx))."""
    return stepped(images, step_direction(images, score)[0], epsilon, std)


def choose_epsilon(epsilons: Sequence[float], means: Sequence[float]) -> float:
    """Return the step with the greatest mean score on in-distribution validation images; the first one of equals.

    Examples
    --------
    >>> choose_epsilon((0.0025, 0.005, 0.01), (0.7, 0.9, 0.9))
    0.005
    """
    best = max(range(len(epsilons)), key=lambda i: (means[i], -i))
    return epsilons[best]


def h_score(model: nn.Module) -> Score:
    """Return the score function S: images [B, C, H, W] to max_i h_i [B]."""
    assert isinstance(model, DecomposedConfidence)
    return lambda images: model.heads(model.features(images))[0].amax(1)


def fit_scores(
    model: nn.Module, validation: ImageSet, config: Config, fitted: Mapping[str, Tensor]
) -> dict[str, float]:
    """Choose epsilon on ID validation images (labels are not used).

    Parameters
    ----------
    model : nn.Module
        Trained, in evaluation mode.
    validation : ImageSet
        Normalised float images on the model's device.
    config : Config
        Holds the grid.
    fitted : mapping
        Not used.

    Returns
    -------
    dict
        "epsilon" (halved if so configured), "mean_h" without a step, "mean_h_<epsilon>" for each size.
    """
    score = h_score(model)
    assert isinstance(model, DecomposedConfidence)
    sums = torch.zeros(1 + len(config.epsilons), dtype=torch.float64)
    for start in range(0, len(validation), SCORE_BATCH):
        images = validation.images[start : start + SCORE_BATCH]
        direction, plain = step_direction(images, score)
        sums[0] += plain.double().sum().cpu()
        with torch.no_grad():
            for i, epsilon in enumerate(config.epsilons):
                sums[1 + i] += score(stepped(images, direction, epsilon, model.input_std)).double().sum().cpu()
    means = (sums / len(validation)).tolist()
    chosen = choose_epsilon(config.epsilons, means[1:])
    by_size = {f"mean_h_{epsilon:g}": mean for epsilon, mean in zip(config.epsilons, means[1:], strict=True)}
    return {"epsilon": chosen / 2 if config.halve_epsilon else chosen, "mean_h": means[0], **by_size}


def scores(model: nn.Module, images: Tensor, config: Config, fitted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Score one batch; all scores are higher for in-distribution images.

    Parameters
    ----------
    model : nn.Module
        Trained, in evaluation mode.
    images : Tensor [B, C, H, W]
        Normalised.
    config : Config
        Settings of the method.
    fitted : mapping
        From `fit_scores`.

    Returns
    -------
    dict of float64 Tensor [B]
        godin_h (max h, no step), godin_h_star (max h after the step of the chosen size), godin_g (the divisor; not for
        the plain head, where it is constant), and with `grid_scores` godin_h_eps_<size> for every size of the grid.
    """
    score = h_score(model)
    assert isinstance(model, DecomposedConfidence)
    direction, plain = step_direction(images, score)
    result = {"godin_h": plain}
    with torch.no_grad():
        at = {
            epsilon: score(stepped(images, direction, epsilon, model.input_std))
            for epsilon in dict.fromkeys((fitted["epsilon"], *(config.epsilons if config.grid_scores else ())))
        }
        result["godin_h_star"] = at[fitted["epsilon"]]
        if config.head != "plain":
            result["godin_g"] = model.heads(model.features(images))[1][:, 0]
    if config.grid_scores:
        result.update({f"godin_h_eps_{epsilon:g}": at[epsilon] for epsilon in config.epsilons})
    return {name: values.double() for name, values in result.items()}


METHOD = Method(
    name="godin",
    paper=Paper(
        title="Generalized ODIN: Detecting Out-of-distribution Image without Learning from Out-of-distribution Data",
        url="https://arxiv.org/abs/2002.11297",
        id="godin",
    ),
    config=Config,
    build=build,
    train=train,
    fit_scores=fit_scores,
    scores=scores,
    data_parallel=True,
)
