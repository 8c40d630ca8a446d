"""BiaMAT: adversarial training that also learns from a labelled auxiliary data set of other classes.

S. Lee, H. Lee: Inducing Data Amplification Using Auxiliary Datasets in Adversarial Training, WACV 2023, arXiv
2209.14053. The body of the paper was not available: everything here follows the published code, two programs
(adversarial training and TRADES), and the abstract. Gate and losses are in `loss`, learning rates in `recipe`.

Departures from the code: the network of the last epoch is kept, whereas the adversarial training program keeps the step
with the best robust accuracy on the test set (the history has the robust error, so that both can be shown); an
auxiliary batch without OUT or without IN images, with which the TRADES program fails, has the loss of the other group;
and the gate's threshold is stored with the network, so that a resumed training does not estimate it again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn

from reprood.attacks.projected import Start, start_noise
from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch, Inputs, error_percent
from reprood.engine.fit import fit
from reprood.engine.optimizers import decay_groups
from reprood.engine.outliers import outlier_set
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.robust_error import robust_error_percent
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.images.augment import random_crop, random_flip, to_float
from reprood.methods.base import History, Method, Paper
from reprood.methods.biamat.loss import out_then_in
from reprood.methods.biamat.net import InputStep, RobustNet, TwoHeads, draw_head
from reprood.methods.biamat.recipe import Recipe
from reprood.methods.biamat.second_stream import second_stream
from reprood.methods.biamat.step import Ascent, at_step, gate, trades_step

Loss = Literal["at", "trades"]

# What differs between the two programs, as their README runs them for CIFAR-10 with ImageNet.
ALPHA: dict[Loss, float] = {"at": 1.0, "trades": 0.5}
GAMMA: dict[Loss, float] = {"at": 0.55, "trades": 0.5}
EPS: dict[Loss, float] = {"at": 8 / 255, "trades": 0.031}
STEP: dict[Loss, float] = {"at": 2 / 255, "trades": 0.007}
START: dict[Loss, Start] = {"at": "uniform", "trades": "gaussian"}
INPUT_STEP: dict[Loss, InputStep] = {"at": "per_image", "trades": "none"}


class Config(BaseModel):
    """Settings; the defaults are the adversarial training program's (WRN-28-10, here `wrn_leaky`).

    The TRADES program (WRN-34-10, here `wrn`) has `loss: trades` and a training of 110 epochs with weight decay 5e-4,
    crop padding 4, the last short batch kept, `drops: bag_of_tricks`.

    Attributes
    ----------
    training : Recipe
    loss : {"at", "trades"}
        Which program. "at": cross-entropy on attacked images, attacked with the batch's statistics. "trades":
        natural cross-entropy plus `beta` times a divergence, attacked in evaluation mode.
    selection : {"gate", "all_in", "all_out", "none"}
        "gate": auxiliary images with a confidence of the primary head below a threshold are OUT and get the uniform
        target, the others are IN and get their label on the auxiliary head. "all_in": joint training on both sets.
        "all_out": labels are never used (the code's switch for the shuffle analysis). "none": no auxiliary images.
    shuffle_labels : bool
        Auxiliary labels are permuted among the auxiliary images.
    auxiliary : str
        The auxiliary set; "" if there is only one.
    alpha : float or None
        Weight of the auxiliary loss. None here and below: the program's (see this module's tables).
    gamma : float or None
        The threshold is gamma times the primary head's mean confidence on one natural primary batch, the first after
        the warm-up; it is then frozen.
    gate_warmup_epochs : int
        In these first epochs all auxiliary images are IN with weight 0: they are attacked, and part of the batch
        statistics.
    eps, step : float or None
        Radius and step of the attack in units of [0, 1] images.
    steps : int
        Of the attack.
    monitor_steps : int
        Steps of the attack under which the history records the robust error of the monitored sets, 0 for none. Radius
        and step are those of training; the adversarial training program chooses its step with 10 steps. Nothing is
        chosen here.
    monitor_limit : int or None
        Number of images of each set for the robust error, from the first on; None: all.
    beta : float
        Weight of TRADES' divergence.
    plain_auxiliary : bool
        With TRADES: IN images have plain adversarial cross-entropy, the code's rule for a CIFAR-100 primary set.
    input_step : {"per_image", "none", "channels"} or None
        What the network does to images in [0, 1]: standardises each, nothing, or the suite's normalisation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Recipe = Recipe(
        epochs=100, batch_size=128, lr=0.1, weight_decay=2e-4, crop_padding=2, drop_last=True, drops="at"
    )
    loss: Loss = "at"
    selection: Literal["gate", "all_in", "all_out", "none"] = "gate"
    shuffle_labels: bool = False
    auxiliary: str = ""
    alpha: float | None = Field(default=None, ge=0)
    gamma: float | None = Field(default=None, ge=0)
    gate_warmup_epochs: int = Field(default=5, ge=0)
    eps: float | None = Field(default=None, ge=0, le=1)
    step: float | None = Field(default=None, gt=0)
    steps: int = Field(default=10, ge=1)
    monitor_steps: int = Field(default=10, ge=0)
    monitor_limit: int | None = Field(default=None, ge=1)
    beta: float = Field(default=6.0, ge=0)
    plain_auxiliary: bool = False
    input_step: InputStep | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.plain_auxiliary and self.loss == "at":
            raise ValueError("plain_auxiliary belongs to loss: trades; loss: at always works like this")
        if self.shuffle_labels and self.selection in ("all_out", "none"):
            raise ValueError(f"shuffle_labels would do nothing: selection: {self.selection} uses no auxiliary labels")
        if self.training.ema is not None:
            raise ValueError("training.ema would average the gate's threshold; leave it out")
        return self

    @property
    def weight(self) -> float:
        """Weight of the auxiliary loss, alpha."""
        return ALPHA[self.loss] if self.alpha is None else self.alpha

    @property
    def threshold_share(self) -> float:
        """The factor gamma of the threshold."""
        return GAMMA[self.loss] if self.gamma is None else self.gamma

    @property
    def ascent(self) -> Ascent:
        """The attack."""
        eps = EPS[self.loss] if self.eps is None else self.eps
        return Ascent(eps, STEP[self.loss] if self.step is None else self.step, self.steps)

    @property
    def learns_labels(self) -> bool:
        """Whether any image is IN at any time."""
        return self.selection in ("gate", "all_in") or (self.selection == "all_out" and self.gate_warmup_epochs > 0)


# --- the network ---


def build(config: Config, backbone: nn.Module, classes: int) -> RobustNet:
    """Return the untrained network: backbone and primary head."""
    return RobustNet(backbone, classes, config.input_step or INPUT_STEP[config.loss])


def build_both(config: Config, problem: Problem, auxiliary_classes: int) -> TwoHeads:
    """Return the network to be trained, whose two heads are drawn as the program does."""
    model = TwoHeads(build(config, problem.backbone(), problem.classes), auxiliary_classes)
    heads = [head for head in (model.primary.head, model.auxiliary) if head is not None]
    for head in heads:
        if config.loss == "at":
            draw_head(head)
        else:
            nn.init.zeros_(head.bias)
    for buffer, values in ((model.primary.mean, problem.mean), (model.primary.std, problem.std)):
        buffer.copy_(torch.tensor(values).view_as(buffer))
    return model


# --- training ---


def pixel_inputs(training: Training, run: Run) -> Inputs:
    """Return a function that augments images and scales them to [0, 1], not normalised: what an attack changes."""
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def inputs(images: Tensor, generator: Generator) -> Tensor:
        if training.augment in ("crop_flip", "crop"):
            images = random_crop(images, training.crop_padding, generator)
        if training.augment in ("crop_flip", "flip"):
            images = random_flip(images, generator)
        return to_float(images).contiguous(memory_format=layout)

    return inputs


def auxiliary_set(problem: Problem, config: Config, run: Run) -> ImageSet:
    """Return the auxiliary set, with its labels permuted if so configured.

    Raises
    ------
    ReproodError
        If there is no such set, or it has no labels and they are needed.
    """
    data = outlier_set(problem, config.auxiliary, run.name)
    if config.learns_labels and int(data.labels.min()) < 0:
        raise ReproodError(
            f"{run.name}: BiaMAT learns the labels of its auxiliary set, but this one has images without a label; "
            "set 'labelled: true' in its entry under 'auxiliary', or set selection: all_out, gate_warmup_epochs: 0."
        )
    if not config.shuffle_labels:
        return data
    order = torch.randperm(len(data), generator=run.generator("auxiliary labels")).to(data.labels.device)
    return ImageSet(data.images, data.labels[order])


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train one phase on batches of both sets; the returned network has the primary head alone.

    The history has the error of the monitored sets on clean and on attacked images; with the gate, also its threshold
    and the fraction of auxiliary images that were IN since the previous row.

    Raises
    ------
    ReproodError
        If the auxiliary set is missing, too small, or has no labels.
    """
    data = None if config.selection == "none" else auxiliary_set(problem, config, run)
    labelled = data is not None and config.learns_labels
    with seeded(run.seed("initialisation")):
        model = build_both(config, problem, int(data.labels.max()) + 1 if data is not None and labelled else 0)
    kernels_alone = decay_groups(model, [parameter for parameter in model.parameters() if parameter.dim() < 2])
    inputs = pixel_inputs(config.training, run)
    others = make_others(data, problem, config, run, inputs)
    layout = torch.channels_last if run.channels_last else torch.contiguous_format
    trades = partial(trades_step, beta=config.beta, plain_auxiliary=config.plain_auxiliary)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        both = cast(TwoHeads, network)  # or its compiled form
        warm = batch.epoch < config.gate_warmup_epochs
        second, labels_in = others(both, batch, warm)
        images = torch.cat((batch.images, second)).contiguous(memory_format=layout)
        noise = start_noise(images, config.ascent.eps, "linf", batch.generator, START[config.loss])
        step = at_step if config.loss == "at" else trades
        alpha = 0.0 if warm else config.weight
        parts = step(both, images, batch.labels, labels_in, noise, alpha, config.ascent)
        return parts.primary + parts.auxiliary

    attack: dict[str, Any] = {**config.ascent._asdict(), "steps": config.monitor_steps}
    attack["clip_start"] = config.loss == "at"

    def monitor(network: nn.Module) -> dict[str, float]:
        both = cast(TwoHeads, network)
        row = {f"{name}_error": error_percent(both, part, problem, run) for name, part in problem.monitor.items()}
        if config.monitor_steps:
            for name, part in problem.monitor.items():
                row[f"{name}_robust_error"] = robust_error_percent(
                    both, both.primary.pixel_logits, part, run, limit=config.monitor_limit, **attack
                )
        judged, inside = both.counted.tolist()
        if judged:
            row |= {"auxiliary_in": inside / judged, "gate_threshold": float(both.primary.threshold)}
            both.counted.zero_()
        return row

    rows = fit(
        model,
        loss,
        problem.train,
        config.training,
        run,
        problem=problem,
        groups=kernels_alone if config.loss == "at" else None,
        inputs=inputs,
        monitor=monitor,
    )
    return model.primary, rows


def make_others(
    data: ImageSet | None, problem: Problem, config: Config, run: Run, inputs: Inputs
) -> Callable[[TwoHeads, Batch, bool], tuple[Tensor, Tensor]]:
    """Return a function that gives a step's auxiliary images [OUT ; IN] in [0, 1], and the labels of those that are IN.

    Its last argument says whether this is the warm-up. Without an auxiliary set both are empty.
    """
    if data is None:
        return lambda network, batch, warm: (batch.images[:0], batch.labels[:0])
    stream = second_stream(len(data), len(problem.train), config.training, run, config.auxiliary)

    def others(network: TwoHeads, batch: Batch, warm: bool) -> tuple[Tensor, Tensor]:
        rows = stream(batch)
        images, labels = inputs(data.images.index_select(0, rows), batch.generator), data.labels.index_select(0, rows)
        if warm or config.selection == "all_in":
            return images, labels
        if config.selection == "all_out":
            return images, labels[:0]
        order, count = out_then_in(gate(network, batch.images, images, config.threshold_share))
        return images.index_select(0, order), labels.index_select(0, order[count:])

    return others


METHOD = Method(
    name="biamat",
    paper=Paper(
        title="Inducing Data Amplification Using Auxiliary Datasets in Adversarial Training",
        url="https://arxiv.org/abs/2209.14053",
        id="biamat",
    ),
    config=Config,
    build=build,
    train=train,
)
