"""The options of the post-hoc detectors; the defaults are the published values."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """A detector's options; frozen, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EnergyOptions(Options):
    """Energy: the temperature T."""

    temperature: float = Field(default=1.0, gt=0)


class OdinOptions(Options):
    """ODIN: temperature, and a step size or the rule that chooses it on ID validation data from the grid."""

    temperature: float = Field(default=1000.0, gt=0)
    epsilon: float | Literal["validation"] = 0.0014
    grid: tuple[float, ...] = Field(default=(0.0025, 0.005, 0.01, 0.02, 0.04, 0.08), min_length=1)


class KnnOptions(Options):
    """Nearest neighbours: which one."""

    k: int = Field(default=50, ge=1)


class VimOptions(Options):
    """ViM: size of the principal space; None = the authors' rule."""

    dimension: int | None = Field(default=None, ge=0)


class ReactOptions(Options):
    """ReAct: percentile of the validation activations at which activations are clipped."""

    percentile: float = Field(default=90.0, ge=0, le=100)
