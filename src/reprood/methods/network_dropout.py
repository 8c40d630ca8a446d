"""Stochastic depth and DropBlock: regularisers that drop parts of a residual network, as rivals of CutMix (Table 5).

G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Q. Weinberger: Deep Networks with Stochastic Depth, ECCV 2016, arXiv 1603.09382.
G. Ghiasi, T.-Y. Lin, Q. V. Le: DropBlock: A regularization method for convolutional networks, NeurIPS 2018, arXiv
1810.12890.

The drop rates and the size of a block are those of the CutMix paper. It does not say where they act, which is our
choice: both act on what a block adds to its shortcut, stochastic depth on every block by the linear rule of its paper,
DropBlock on the blocks of the last two stages with a rate that rises linearly during training, as in its paper. What is
kept is divided by the kept share, so that nothing changes at test time. Dropped branches are computed all the same, and
their batch statistics are updated.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.fit import fit
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods.base import History, Method, Paper
from reprood.methods.erm import smoothed_cross_entropy
from reprood.methods.feature_mix import Change, changed_output
from reprood.nets import pyramidnet, resnet, wrn
from reprood.nets.classifier import Classifier

DROPBLOCK_STAGES = 2  # the last ones


class Config(BaseModel):
    """Settings; the defaults are those of stochastic depth in Table 5.

    Attributes
    ----------
    training : Training
    kind : {"stochastic_depth", "dropblock"}
    rate : float
        Largest drop rate: of the last block, or of a value at the end of training (1 - keep_prob).
    block_size : int
        Side of the squares that DropBlock drops.
    label_smoothing : float
        eps: the target is (1 - eps) * onehot + eps / K.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(lr=0.25, nesterov=True, schedule="floor_steps")
    kind: Literal["stochastic_depth", "dropblock"] = "stochastic_depth"
    rate: float = Field(default=0.25, ge=0, lt=1)
    block_size: int = Field(default=4, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


# --- the network's residual branches ---


def branch_end(block: nn.Module) -> nn.Module | None:
    """Return the module of a residual block that computes what is added to the shortcut; None for other modules."""
    if isinstance(block, pyramidnet.Block):
        return block.norms[-1]
    if isinstance(block, wrn.Block):
        return block.conv2
    if isinstance(block, resnet.Basic):
        return block.norm2
    return block.norm3 if isinstance(block, resnet.Bottleneck) else None


def branches(backbone: nn.Module) -> list[list[nn.Module]]:
    """Return the ends of the residual branches of each stage, in order.

    Raises
    ------
    ReproodError
        When the network has no residual blocks that are known here.
    """
    ends = [end for end in map(branch_end, backbone.modules()) if end is not None]
    if not ends:
        raise ReproodError(
            f"Residual branches are dropped, and {type(backbone).__name__} has none that are known; use a backbone "
            "such as wrn, resnet or pyramidnet."
        )
    if isinstance(stages := getattr(backbone, "stages", None), nn.Sequential):
        return [[end for block in stage.children() if (end := branch_end(block)) is not None] for stage in stages]
    third = len(ends) // 3  # PyramidNet: three stages of as many blocks
    return [ends[:third], ends[third : 2 * third], ends[2 * third :]]


# --- what is dropped ---


def survival(index: int, count: int, rate: float) -> float:
    """Return the probability with which a block is kept, by the linear rule (Huang et al., eq. 4).

    Parameters
    ----------
    index, count : int
        The block is number `index` of `count`, from 1.
    rate : float
        Drop rate of the last block.

    Examples
    --------
    >>> [survival(index, 5, 0.25) for index in (1, 5)]
    [0.95, 0.75]
    """
    return 1 - rate * index / count


def drop_blocks(maps: Tensor, rate: float, size: int, generator: Generator) -> Tensor:
    """Set squares of feature maps to zero and scale the rest by the inverse of the kept share (Ghiasi et al., alg. 1).

    Parameters
    ----------
    maps : Tensor [B, C, H, W]
        Every channel has its own squares.
    rate : float
        Share of the values that are dropped if squares do not overlap.
    size : int
        Side of a square; at most H and W, else cut to them. Squares lie inside of the map.
    generator : Generator
        On the device of `maps`.
    """
    count, channels, height, width = maps.shape
    size = min(size, height, width)
    rows, columns = height - size + 1, width - size + 1
    share = rate / size**2 * (height * width) / (rows * columns)
    corners = torch.rand((count, channels, rows, columns), generator=generator, device=maps.device) < share
    padded = functional.pad(corners.to(maps), (size - 1,) * 4)
    kept = 1 - functional.max_pool2d(padded, size, stride=1)
    scale = kept.numel() / kept.sum(dtype=torch.float32).clamp(min=1)  # half precision would round count and factor
    return ((maps * kept).float() * scale).to(maps)


def changes(config: Config, stages: list[list[nn.Module]], batch: Batch) -> list[tuple[nn.Module, Change]]:
    """Draw what one step drops: the modules, and how what they return is changed."""
    if config.kind == "stochastic_depth":
        ends = [end for stage in stages for end in stage]
        keep = [survival(number, len(ends), config.rate) for number in range(1, len(ends) + 1)]
        kept = torch.rand(len(ends), generator=batch.generator, dtype=torch.float64) < torch.tensor(keep).double()
        return [(end, _scaled(float(one) / share)) for end, one, share in zip(ends, kept, keep, strict=True)]
    device = batch.images.device
    seed = int(torch.randint(2**62, (), generator=batch.generator))
    generator = torch.Generator(device).manual_seed(seed)
    rate = config.rate * batch.progress

    def change(maps: Tensor) -> Tensor:
        return drop_blocks(maps, rate, config.block_size, generator)

    return [(end, change) for stage in stages[-DROPBLOCK_STAGES:] for end in stage]


def _scaled(factor: float) -> Change:
    def change(maps: Tensor) -> Tensor:
        return maps * factor

    return change


@contextmanager
def dropping(places: list[tuple[nn.Module, Change]]) -> Iterator[None]:
    """Change what modules return, within the context.

    Raises
    ------
    ReproodError
        When none of them was called.
    """
    called = False

    def noted(change: Change) -> Change:
        def inner(maps: Tensor) -> Tensor:
            nonlocal called
            called = True
            return change(maps)

        return inner

    with ExitStack() as stack:
        for module, change in places:
            stack.enter_context(changed_output(module, noted(change)))
        yield
    if not called:
        raise ReproodError("Nothing was dropped: a compiled network ignores changes of layers; set compile: false.")


# --- the training ---


def build(config: Config, backbone: nn.Module, classes: int) -> Any:
    """Return the untrained network: backbone and linear head."""
    return Classifier(backbone, classes)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Train one phase of cross-entropy, dropping parts of the network in every step."""
    with seeded(run.seed("initialisation")):
        model = build(config, problem.backbone(), problem.classes)
    stages = branches(model.backbone)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        with dropping(changes(config, stages, batch)):
            return smoothed_cross_entropy(network(batch.images), batch.labels, config.label_smoothing)

    return model, fit(model, loss, problem.train, config.training, run, problem=problem)


METHOD = Method(
    name="network_dropout",
    paper=Paper(
        title="CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        url="https://arxiv.org/abs/1905.04899",
        id="cutmix",
    ),
    config=Config,
    build=build,
    train=train,
)
