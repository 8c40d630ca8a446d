"""Time per image of detectors on trained networks (CnC, section 4.3: one forward pass against input gradients).

Times are not a function of the seeds: they differ from run to run. Ratios to the maximum softmax probability are taken
within a round, in which every arm runs once, so that a slow moment of the machine affects all of them.
"""

import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from reprood.detectors import energy, knn, mahalanobis, msp
from reprood.engine.problem import Problem
from reprood.images.augment import normalise
from reprood.methods import godin
from reprood.methods.cnc import method as cnc
from reprood.methods.cnc.settings import Config as CncConfig
from reprood.predict.passes import perturb
from reprood.studies.base import Context, Findings, Row, Study

Score = Callable[[Tensor], object]
FITTED = 2000  # training images on which Mahalanobis and nearest neighbours are fitted


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    classifier, cnc, godin : str
        Rows of the models: the plain classifier, CnC, and Generalized ODIN ("" leaves the row out).
    images, batch : int
        How many test images are scored in a round, and how many at a time; repeated if there are fewer.
    rounds : int
        Measurements, after one that does not count; the median is reported.
    epsilon, temperature : float
        ODIN's; the size of the step is also Generalized ODIN's.
    neighbours : int
        k of KNN.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classifier: str = "erm"
    cnc: str = "cnc"
    godin: str = ""
    images: int = Field(default=1000, ge=1)
    batch: int = Field(default=100, ge=1)
    rounds: int = Field(default=7, ge=1)
    epsilon: float = Field(default=0.0014, gt=0)
    temperature: float = Field(default=1000.0, gt=0)
    neighbours: int = Field(default=50, ge=1)


def classifier_scores(model: nn.Module, problem: Problem, config: Config) -> dict[str, Score]:
    """Return the post-hoc detectors on a plain classifier, from normalised images to scores; already fitted."""
    known = normalise(problem.train.images[:FITTED], problem.mean, problem.std)
    labels = problem.train.labels[:FITTED]
    std = torch.tensor(problem.std, device=known.device)

    def features(images: Tensor) -> np.ndarray:
        values: Tensor = model.features(images)  # type: ignore[operator]
        return values.cpu().numpy()

    def logits(images: Tensor) -> np.ndarray:
        values: Tensor = model(images)
        return values.cpu().numpy()

    def moved(images: Tensor) -> Tensor:
        return perturb(model, images, std, config.temperature, [config.epsilon])[0]

    with torch.no_grad():
        stored = np.concatenate([features(part) for part in torch.split(known, config.batch)])
    gaussians = mahalanobis.fit(stored, labels.cpu().numpy(), problem.classes)
    k = min(config.neighbours, len(stored))
    return {
        "msp": lambda images: msp.msp(logits(images)),
        "energy": lambda images: energy.energy(logits(images)),
        "odin": lambda images: msp.msp(logits(moved(images)), config.temperature),
        "mahalanobis": lambda images: mahalanobis.score(features(images), gaussians),
        "knn": lambda images: knn.score(features(images), stored, k),
    }


def cnc_score(model: nn.Module) -> Score:
    """Return CnC's score, one forward pass."""
    return lambda images: cnc.scores(model, images, CncConfig(), {})["cnc"]


def godin_score(model: nn.Module, epsilon: float) -> Score:
    """Return Generalized ODIN's score, max h after one input step."""
    score, std = godin.h_score(model), model.get_buffer("input_std")
    return lambda images: score(godin.preprocess(images, score, epsilon, std))


def seconds(score: Score, batches: Iterable[Tensor], device: torch.device) -> float:
    """Return the wall time of scoring all batches."""
    start = time.perf_counter()
    for images in batches:
        with torch.no_grad():
            score(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def timed(arms: dict[str, Score], batches: list[Tensor], rounds: int, device: torch.device) -> dict[str, np.ndarray]:
    """Return milliseconds per image, [rounds] for each arm; every arm runs once per round, after a warm-up round.

    Each round starts with another arm, so that none is always the first.
    """
    count = sum(len(images) for images in batches)
    names = list(arms)
    milliseconds = {name: np.empty(rounds) for name in names}
    for score in arms.values():
        seconds(score, batches, device)
    for number in range(rounds):
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            milliseconds[name][number] = 1000 * seconds(arms[name], batches, device) / count
    return milliseconds


def measure(config: Config, context: Context) -> Findings:
    """Time every arm on every seed's models.

    Returns
    -------
    Findings
        Metrics: ms_per_image (median over rounds; batches of `batch`), ratio_to_msp (median of the rounds' ratios).
        Arrays: `times_<arm>` [seeds, rounds] in ms per image.
    """
    rows: list[Row] = []
    times: dict[str, list[np.ndarray]] = {}
    for seed in context.seeds:
        problem = context.problem(seed)
        test = problem.monitor["test"].images
        order = torch.arange(config.images, device=test.device) % len(test)
        images = normalise(test[order], problem.mean, problem.std).contiguous(memory_format=torch.channels_last)
        batches = list(torch.split(images, config.batch))
        arms = classifier_scores(context.models_of(config.classifier)[seed], problem, config)
        arms["cnc"] = cnc_score(context.models_of(config.cnc)[seed])
        if config.godin:
            arms["godin"] = godin_score(context.models_of(config.godin)[seed], config.epsilon)
        milliseconds = timed(arms, batches, config.rounds, context.device)
        for arm, values in milliseconds.items():
            times.setdefault(arm, []).append(values)
            measured = {"ms_per_image": values, "ratio_to_msp": values / milliseconds["msp"]}
            rows += [Row(seed=seed, arm=arm, metric=m, value=float(np.median(v))) for m, v in measured.items()]
    return Findings(rows, {f"times_{arm}": np.array(values) for arm, values in times.items()})


STUDY = Study(name="inference_time", config=Config, measure=measure)
