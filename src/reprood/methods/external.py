"""A network that was trained elsewhere (`use: external` with `weights`): predictions like those of all others.

Nothing is trained here: `reprood.train.given` takes the place of the train stage.
"""

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.methods.base import History, Method, Paper
from reprood.nets.given import GivenNetwork


class Config(BaseModel):
    """No settings: there is no training."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Given(nn.Module):
    """A whole network as the predict stage uses it."""

    def __init__(self, backbone: GivenNetwork) -> None:
        super().__init__()
        self.backbone = backbone

    def features(self, images: Tensor) -> Tensor:
        """Return features [B, d] of normalised images [B, C, H, W]."""
        features: Tensor = self.backbone(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K]."""
        return self.backbone.logits(images)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return weight [K, d] and bias [K] of the last layer, or None if logits are not affine in the features."""
        return self.backbone.last_layer()


class GivenFeatures(Given):
    """A whole network in a benchmark of one class: only its features count, and logits are zeros [B, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        """Return zeros [B, 1]."""
        return images.new_zeros(len(images), 1)

    def logits_of(self, features: Tensor) -> Tensor:
        """Return zeros [B, 1]."""
        return features.new_zeros(len(features), 1)

    def linear_head(self) -> tuple[Tensor, Tensor] | None:
        """Return None."""
        return None


def build(config: Config, backbone: nn.Module, classes: int) -> Given:
    """Return the untrained network.

    Raises
    ------
    ReproodError
        When its outputs are not the classes.
    """
    if not isinstance(backbone, GivenNetwork):
        raise ReproodError("A network of the method 'external' needs the backbone 'given'.")
    if classes == 1:
        return GivenFeatures(backbone)
    if backbone.split.classes != classes:
        raise ReproodError(
            f"The network has {backbone.split.classes} outputs and the benchmark {classes} classes; give weights of a "
            "network that was trained on these classes, in the order of the benchmark."
        )
    return Given(backbone)


def train(problem: Problem, config: Config, run: Run) -> tuple[nn.Module, History]:
    """Refuse to train.

    Raises
    ------
    ReproodError
        Always.
    """
    raise ReproodError("The method 'external' trains nothing; give a folder of outputs or a file of weights.")


METHOD = Method(name="external", paper=Paper(title="", url=""), config=Config, build=build, train=train)
