"""What a method is: one typed record per paper.

Every method module ends with `METHOD = Method(name=..., paper=..., config=Config, build=build, train=train, ...)`. The
optional functions are the method's capabilities; one that is not given does not exist. A misspelt capability is a
TypeError when the module is imported and an error of the type checker, and so is a function of the wrong signature.

All functions are pure: they take what they need and keep no state. Shapes: B images, C channels, H x W pixels. Images
are float32 and normalised by the mean and standard deviation of the benchmark unless stated otherwise.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]  # each call iterates over (images, labels) once
History = list[dict[str, Any]]

C = TypeVar("C", bound=BaseModel)
M = TypeVar("M", bound=nn.Module)
C_contra = TypeVar("C_contra", bound=BaseModel, contravariant=True)
M_contra = TypeVar("M_contra", bound=nn.Module, contravariant=True)
M_co = TypeVar("M_co", bound=nn.Module, covariant=True)


class Build(Protocol[C_contra, M_co]):
    """`build(config, backbone, classes)`."""

    def __call__(self, config: C_contra, backbone: nn.Module, classes: int, /) -> M_co:
        """Return the untrained network, into which a trained one's weights are loaded.

        `model(images)` gives logits [B, classes] and `model.features(images)` features [B, d]. `model.linear_head()`
        gives weight and bias of an affine last layer, or None; then a method `logits_of(features)`, if the logits
        follow from the features, saves every prediction a second pass.
        """


class Train(Protocol[C_contra]):
    """`train(problem, config, run)`."""

    def __call__(self, problem: Problem, config: C_contra, run: Run, /) -> tuple[nn.Module, History]:
        """Train on `problem` and return a network like `build`'s and the rows of history.csv.

        Calls `reprood.engine.fit.fit` once for each phase of the paper's recipe.
        """


class FitOnTrain(Protocol[C_contra, M_contra]):
    """`fit_on_train(model, batches, config, generator)`."""

    def __call__(
        self, model: M_contra, batches: Batches, config: C_contra, generator: torch.Generator, /
    ) -> dict[str, Tensor]:
        """Return what scoring needs of the training images, such as a density or a bank of features."""


class FitScores(Protocol[C_contra, M_contra]):
    """`fit_scores(model, validation, config, fitted)`."""

    def __call__(
        self, model: M_contra, validation: ImageSet, config: C_contra, fitted: Mapping[str, Tensor], /
    ) -> dict[str, float]:
        """Return numbers chosen on in-distribution validation images; they are stored with the predictions.

        `fitted` is what `fit_on_train` returned, empty without it.
        """


class Scores(Protocol[C_contra, M_contra]):
    """`scores(model, images, config, fitted)`."""

    def __call__(
        self, model: M_contra, images: Tensor, config: C_contra, fitted: Mapping[str, Any], /
    ) -> dict[str, Tensor]:
        """Return the method's own scores of images [B, C, H, W], float64 [B] each; higher = more in-distribution.

        `fitted` has what `fit_on_train` and `fit_scores` returned. The report shows the first score first.
        """


class AnomalyMaps(Protocol[C_contra, M_contra]):
    """`anomaly_maps(model, images, config, fitted)`."""

    def __call__(self, model: M_contra, images: Tensor, config: C_contra, fitted: Mapping[str, Any], /) -> Tensor:
        """Return maps [B, H, W] of images [B, C, H, W]; higher = more anomalous."""


class Illustrate(Protocol[C_contra]):
    """`illustrate(images, config, generator)`."""

    def __call__(self, images: Tensor, config: C_contra, generator: torch.Generator, /) -> Tensor:
        """Return images as training changes them, normalised like `images` [B, C, H, W]; for the report's figures."""


@dataclass(frozen=True)
class Paper:
    """The publication that a method is taken from.

    Attributes
    ----------
    title, url : str
        Title; address of the abstract.
    id : str
        Name of the file in `config/papers/` with its numbers and claims; "" for a method that papers compare with.
    """

    title: str
    url: str
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Method(Generic[C, M]):
    """A method and its capabilities.

    Attributes
    ----------
    name : str
        Name of the module's file or folder, which a suite `use`s.
    paper : Paper
    config : type of pydantic model
        The settings, frozen; their defaults are the paper's values.
    build, train : callable
        See `Build` and `Train`.
    fit_on_train, fit_scores, scores, anomaly_maps, illustrate : callable or None
        Optional capabilities; see the protocol of the same name.
    illustrates_outliers : bool
        Whether `illustrate` is for images of the auxiliary set; else for training images.
    data_parallel : bool
        Whether several processes may each train on a part of every batch and average their gradients: the loss is a
        mean over the samples of a batch, and no sample's term depends on which others are in it (batch statistics
        aside).
    """

    name: str
    paper: Paper
    config: type[C]
    build: Build[C, M]
    train: Train[C]
    fit_on_train: FitOnTrain[C, M] | None = None
    fit_scores: FitScores[C, M] | None = None
    scores: Scores[C, M] | None = None
    anomaly_maps: AnomalyMaps[C, M] | None = None
    illustrate: Illustrate[C] | None = None
    illustrates_outliers: bool = False
    data_parallel: bool = False
