"""Generalized ODIN: decomposed confidence, and an input step whose size is chosen on in-distribution images alone.

Y.-C. Hsu, Y. Shen, H. Jin, Z. Kira: Generalized ODIN: Detecting Out-of-distribution Image without Learning from
Out-of-distribution Data, CVPR 2020, arXiv 2002.11297. There is no official code: details that the paper leaves open
follow the best known re-implementation, and it is said where.
"""

from collections.abc import Callable, Sequence
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
from reprood.nets.classifier import width_of

Head = Literal["cosine", "euclid", "inner", "plain"]
Score = Callable[[Tensor], Tensor]
NORM_EPS = 1e-4
SCORE_BATCH = 250


class Config(BaseModel):
    """Settings; the defaults are the paper's (DeConf-C on DenseNet-BC-100).

    Attributes
    ----------
    head : {"cosine", "euclid", "inner", "plain"}
        Numerator h of DeConf-C, -E, -I; "plain" is the baseline: inner numerator over one trainable number.
    decay_numerator : bool
        Apply weight decay to the numerator's parameters too (the paper does not).
    epsilons : tuple of float
        Step sizes to choose from, ascending, in units of [0, 1] pixels.
    halve_epsilon : bool
        Use half of the chosen step, as two codes close to the authors do; not in the paper's formula.
    grid_scores : bool
        Also give the score at every step size, for judging the choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(lr=0.1, weight_decay=1e-4, schedule="multistep", smallest_batch=2)
    head: Head = "cosine"
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


# --- decomposed confidence: f_i(x) = h_i(x) / g(x), after p(y | d_in, x) = p(y, d_in | x) / p(d_in | x) ---


def inner_numerator(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """DeConf-I: h_i = w_i . z + b_i, features [B, d] and weight [C, d] to [B, C]."""
    outcome: Tensor = functional.linear(features, weight, bias)
    return outcome


def euclid_numerator(features: Tensor, weight: Tensor) -> Tensor:
    """DeConf-E: h_i = - mean over k of (z_k - w_ik)^2, [B, C].

    The mean over the d features is the re-implementations'; the paper's sum is d times this.
    """
    return -(features.unsqueeze(1) - weight).square().mean(2)


def cosine_numerator(features: Tensor, weight: Tensor, norm_eps: float = NORM_EPS) -> Tensor:
    """DeConf-C: h_i = (z . w_i) / (|z| |w_i|), [B, C]; `norm_eps` is added to each norm, so z = 0 gives 0."""
    unit_features = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + norm_eps)
    unit_weight = weight / (torch.linalg.vector_norm(weight, dim=1, keepdim=True) + norm_eps)
    outcome: Tensor = unit_features @ unit_weight.T
    return outcome


class Numerator(nn.Module):
    """h of the three heads; Kaiming-normal weights (fan-in), zero bias."""

    def __init__(self, head: Head, width: int, classes: int) -> None:
        super().__init__()
        self.head = head
        self.norm_eps = NORM_EPS
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(classes)) if head in ("inner", "plain") else None

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, d] to h [B, C]."""
        if self.head == "cosine":
            return cosine_numerator(features, self.weight, self.norm_eps)
        if self.head == "euclid":
            return euclid_numerator(features, self.weight)
        assert self.bias is not None
        return inner_numerator(features, self.weight, self.bias)


class Divisor(nn.Module):
    """g = sigmoid(BN(w_g . z + b_g)) in (0, 1), one number per image: a learned inverse temperature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.norm = nn.BatchNorm1d(1)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, d] to g [B, 1]."""
        return torch.sigmoid(self.norm(self.linear(features)))


class ConstantDivisor(nn.Module):
    """One trainable number for all images, 1 at the start: the baseline's divisor."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, d] to g [B, 1]."""
        return self.value.expand(len(features), 1)


class DecomposedConfidence(nn.Module):
    """Logits f = h / g; both heads in fp32 whatever the backbone runs in.

    The buffer `input_std` [3] holds the standard deviation of the input normalisation (grey images: three times the
    same): the input step needs it, and so it travels with the weights.
    """

    input_std: Tensor

    def __init__(self, backbone: nn.Module, head: Head, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = width_of(backbone)
        self.numerator = Numerator(head, self.width, classes)
        self.divisor: nn.Module = ConstantDivisor() if head == "plain" else Divisor(self.width)
        self.register_buffer("input_std", torch.ones(3))

    def features(self, images: Tensor) -> Tensor:
        """Pooled features z = phi(x): images [B, C, H, W] to [B, d]."""
        features: Tensor = self.backbone(images)
        return features

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Numerators h [B, C] and divisor g [B, 1] of features [B, d]."""
        with torch.autocast(features.device.type, enabled=False):
            if features.dtype in (torch.bfloat16, torch.float16):
                features = features.float()
            return self.numerator(features), self.divisor(features)

    def forward(self, images: Tensor) -> Tensor:
        """Logits f = h / g, [B, C]."""
        h, g = self.heads(self.features(images))
        return h / g

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Weight [C, d] and bias [C] of the baseline's affine head; None for the quotients, which are not affine."""
        if not isinstance(self.divisor, ConstantDivisor) or self.numerator.bias is None:
            return None
        scale = self.divisor.value.detach()
        return self.numerator.weight.detach() / scale, self.numerator.bias.detach() / scale[0]


# --- training ---


def build(config: Config, backbone: nn.Module, classes: int) -> nn.Module:
    """The untrained network."""
    return DecomposedConfidence(backbone, config.head, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Cross-entropy of softmax(h / g); no weight decay on the numerator's parameters."""
    with seeded(run.seed("initialisation")):
        model = DecomposedConfidence(problem.backbone(), config.head, problem.classes)
    model.input_std.copy_(torch.tensor(problem.std))
    groups = None if config.decay_numerator else decay_groups(model, model.numerator.parameters())

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(network(batch.images), batch.labels)

    return model, fit(model, loss, problem.train, config.training, run, problem=problem, groups=groups)


# --- modified input preprocessing: a step that raises S, its size chosen on in-distribution images ---


def step_direction(images: Tensor, score: Score) -> tuple[Tensor, Tensor]:
    """Sign of dS/dx, with +1 for exact zeros, and S itself.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Normalised.
    score : callable
        Images to S [B]; in evaluation mode, so that images do not influence each other.
    """
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        values = score(inputs)
        (gradient,) = torch.autograd.grad(values.sum(), inputs)
    return torch.where(gradient >= 0, 1.0, -1.0).to(images.dtype), values.detach()


def stepped(images: Tensor, direction: Tensor, epsilon: float, std: Tensor) -> Tensor:
    """Images + eps * sign(dS/dx) / sigma_c: eps is in [0, 1] pixel units, hence the division by the inputs' sigma.

    `std` holds sigma of each channel; entries beyond the images' channels are not used.
    """
    return images + epsilon * direction / std[: images.shape[1]].to(images.dtype).view(1, -1, 1, 1)


def preprocess(images: Tensor, score: Score, epsilon: float, std: Tensor) -> Tensor:
    """The input x_hat that raises S (the paper writes x - eps * sign(-dS/dx))."""
    return stepped(images, step_direction(images, score)[0], epsilon, std)


def choose_epsilon(epsilons: Sequence[float], means: Sequence[float]) -> float:
    """The step with the greatest mean score on in-distribution validation images; the first one of equals."""
    best = max(range(len(epsilons)), key=lambda i: (means[i], -i))
    return epsilons[best]


def h_score(model: nn.Module) -> Score:
    """S(x) = max_i h_i(x), [B]: higher = more in-distribution."""
    assert isinstance(model, DecomposedConfidence)
    return lambda images: model.heads(model.features(images))[0].amax(1)


def fit_scores(model: nn.Module, validation: ImageSet, config: Config) -> dict[str, float]:
    """Choose epsilon on ID validation images (labels are not used).

    Parameters
    ----------
    model : nn.Module
        Trained, in evaluation mode.
    validation : ImageSet
        Normalised float images on the model's device.
    config : Config
        Gives the grid.

    Returns
    -------
    dict
        "epsilon" (halved if the configuration says so), "mean_h" without a step, "mean_h_<epsilon>" for each size.
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
    fitted = {"epsilon": chosen / 2 if config.halve_epsilon else chosen, "mean_h": means[0]}
    fitted.update({f"mean_h_{epsilon:g}": mean for epsilon, mean in zip(config.epsilons, means[1:], strict=True)})
    return fitted


def scores(model: nn.Module, images: Tensor, config: Config, fitted: dict[str, float]) -> dict[str, Tensor]:
    """Scores of one batch, all higher = more in-distribution.

    Parameters
    ----------
    model : nn.Module
        Trained, in evaluation mode.
    images : Tensor [B, C, H, W]
        Normalised, of any size of batch that fits in memory.
    config, fitted
        Settings; what `fit_scores` gave.

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
