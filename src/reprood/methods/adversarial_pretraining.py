"""Adversarial pre-training on an auxiliary set, then adversarial training on the primary set: a rival of BiaMAT.

D. Hendrycks, K. Lee, M. Mazeika: Using Pre-Training Can Improve Model Robustness and Uncertainty, ICML 2019, arXiv
1901.09960. Both phases are the adversarial training of BiaMAT's program without auxiliary images (`selection: none`);
the second one starts from the body of the first and has a new head. How long the second phase is, and its rate, are
settings of ours.
"""

from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.methods.base import History, Method, Paper
from reprood.methods.biamat import method as biamat
from reprood.methods.biamat.net import RobustNet
from reprood.methods.biamat.recipe import Recipe

MONITORED = 1000
RECIPE = biamat.Config().training


class Config(BaseModel):
    """Settings.

    Attributes
    ----------
    training : Recipe
        Of the primary set.
    pretraining : Recipe
        Of the auxiliary set.
    source : str
        The auxiliary set; it must have labels.
    eps, step : float or None
        Radius and step of the attack in units of [0, 1] images; None: 8/255 and 2/255.
    steps : int
    monitor_steps : int
        Steps of the attack under which the history records the robust error; 0: none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Recipe = RECIPE.model_copy(update={"epochs": 20, "lr": 0.01})
    pretraining: Recipe = RECIPE
    source: str = "near"
    eps: float | None = Field(default=None, ge=0, le=1)
    step: float | None = Field(default=None, gt=0)
    steps: int = Field(default=10, ge=1)
    monitor_steps: int = Field(default=10, ge=0)

    def phase(self, training: Recipe) -> biamat.Config:
        """Return the settings of adversarial training by a recipe."""
        return biamat.Config(
            training=training,
            selection="none",
            eps=self.eps,
            step=self.step,
            steps=self.steps,
            monitor_steps=self.monitor_steps,
        )


def source_problem(problem: Problem, config: Config, run: Run) -> Problem:
    """Return the auxiliary set as a task of its own.

    Raises
    ------
    ReproodError
        If there is no such set, or it has images without a label.
    """
    data = problem.auxiliary.get(config.source)
    if data is None or int(data.labels.min()) < 0:
        raise ReproodError(
            f"{run.name}: pre-training needs a labelled auxiliary set '{config.source}'; the benchmark has "
            f"{', '.join(problem.auxiliary) or 'none'}. Set 'source', or 'labelled: true' in the set's entry."
        )
    shown = ImageSet(data.images[:MONITORED], data.labels[:MONITORED])
    classes = int(data.labels.max()) + 1
    return replace(problem, train=data, classes=classes, auxiliary={}, monitor={"source": shown}, trusted=None)


def build(config: Config, backbone: nn.Module, classes: int) -> RobustNet:
    """Return the untrained network: backbone and primary head."""
    return biamat.build(config.phase(config.training), backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train adversarially on the auxiliary set, then on the primary set from the same body."""
    source = source_problem(problem, config, run)
    first = replace(run, state=run.state / "pretraining")
    pretrained, rows = biamat.train(source, config.phase(config.pretraining), first)
    assert isinstance(pretrained, RobustNet)
    body = pretrained.backbone
    task = replace(problem, auxiliary={}, backbone=lambda: body)
    model, later = biamat.train(task, config.phase(config.training), run)
    return model, [{**row, "phase": "pretrain"} for row in rows] + later


METHOD = Method(
    name="adversarial_pretraining",
    paper=Paper(
        title="Using Pre-Training Can Improve Model Robustness and Uncertainty", url="https://arxiv.org/abs/1901.09960"
    ),
    config=Config,
    build=build,
    train=train,
)
