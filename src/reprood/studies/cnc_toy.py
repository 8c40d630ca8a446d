"""CnC's toy problem (section 3.3): how much of the plane a small network calls in-distribution without training points.

Two half moons, a ReLU network of two hidden layers, and five ways to make outliers. The network is affine in each of
the polygons into which its activation patterns cut the plane. A polygon is called in-distribution if some of its points
are classified so, and empty if no training point lies in it; the number of interest is the area of those that are both.
Areas are exact (the paper does not say how it gets them, nor on which window).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.seeds import seeded
from reprood.evaluate.metrics import detection_metrics
from reprood.methods.cnc.method import cnc_score
from reprood.studies.base import Context, Findings, Row, Study

Arm = Literal["vanilla", "pbcc", "corruption", "r_cnc", "cnc"]
ARMS: tuple[Arm, ...] = ("vanilla", "pbcc", "corruption", "r_cnc", "cnc")
Floats = NDArray[np.float64]
Layers = Sequence[tuple[Floats, Floats]]

CLASSES = 2
TINY = 1e-12  # a polygon is not cut by a line that passes this close to its corner
SMALLEST_AREA = 1e-6  # replaces an area of 0 in the logarithm
FAR = 0.05  # a point this far from all training points is an outlier for the AUROC


class Config(BaseModel):
    """Settings of the study; the paper gives the layers, the rest is this suite's choice.

    Attributes
    ----------
    points : int
        Training points, half of them on each moon; as many new outliers are made in every step.
    hidden : tuple of int
        Widths of the two hidden layers.
    steps : int
        Full-batch steps of Adam.
    lr : float
        Initial learning rate; it falls to 0 along a cosine.
    noise : tuple of float
        Standard deviations of the Gaussian corruption, one drawn for each point.
    window : tuple of float
        Lower and upper end of the square, on both axes.
    grid : int
        Pixels along a side of the figure's maps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int = Field(default=1000, ge=4, multiple_of=2)
    hidden: tuple[int, int] = (32, 32)
    steps: int = Field(default=1500, ge=1)
    lr: float = Field(default=1e-2, gt=0)
    noise: tuple[float, ...] = Field(default=(0.02, 0.05, 0.1, 0.2, 0.3), min_length=1)
    window: tuple[float, float] = (-0.5, 1.5)
    grid: int = Field(default=160, ge=8)


# --- polygons of constant activation ---


@dataclass(frozen=True)
class Region:
    """A convex polygon on which a ReLU network is affine.

    Attributes
    ----------
    corners : array [V, 2]
        In order around it.
    pattern : bytes
        Which units of the hidden layers are active, packed.
    matrix, offset : arrays [C, 2], [C]
        Its logits are `matrix @ x + offset`.
    """

    corners: Floats
    pattern: bytes
    matrix: Floats
    offset: Floats

    @property
    def area(self) -> float:
        """Area by the shoelace formula."""
        x, y = self.corners.T
        return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))

    def is_id(self, classes: int) -> bool:
        """Return whether some point has its largest logit among the first `classes`; always true without other logits.

        The maximum of affine functions minus another one is convex, so it is largest at a corner.
        """
        if len(self.offset) == classes:
            return True
        logits = self.corners @ self.matrix.T + self.offset
        return bool((logits[:, :classes].max(1) > logits[:, classes:].max(1)).any())


def cut(corners: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return the parts of a convex polygon where an affine function, `values` [V] at the corners, is >= 0 and <= 0."""
    sides: tuple[list[Floats], list[Floats]] = ([], [])
    for corner, value, after, next_value in zip(
        corners, values, np.roll(corners, -1, 0), np.roll(values, -1), strict=True
    ):
        if value >= 0:
            sides[0].append(corner)
        if value <= 0:
            sides[1].append(corner)
        if value * next_value < 0:
            crossing = corner + value / (value - next_value) * (after - corner)
            sides[0].append(crossing)
            sides[1].append(crossing)
    return np.array(sides[0]), np.array(sides[1])


def activation_regions(layers: Layers, window: tuple[float, float]) -> list[Region]:
    """Return all polygons of constant activation pattern in the square `window` x `window`.

    Parameters
    ----------
    layers : sequence of (weight [out, in], bias [out])
        Of a ReLU network with two inputs; the last layer is affine. Layer by layer, a region's units are affine
        functions, and the region is cut along the zero line of each.
    window : (float, float)
        Lower and upper end on both axes.
    """
    low, high = window
    square = np.array([[low, low], [high, low], [high, high], [low, high]], dtype=np.float64)
    parts: list[tuple[Floats, tuple[bool, ...], Floats, Floats]] = [(square, (), np.eye(2), np.zeros(2))]
    for weight, bias in layers[:-1]:
        deeper = []
        for corners, pattern, matrix, offset in parts:
            inner, shift = weight @ matrix, weight @ offset + bias
            for part in cut_by_all(corners, inner, shift):
                # The mean of the corners lies inside, off every line.
                active = inner @ part.mean(0) + shift > 0
                deeper.append((part, (*pattern, *active.tolist()), inner * active[:, None], shift * active))
        parts = deeper
    weight, bias = layers[-1]
    return [
        Region(corners, np.packbits(pattern).tobytes(), weight @ matrix, weight @ offset + bias)
        for corners, pattern, matrix, offset in parts
    ]


def cut_by_all(corners: Floats, matrix: Floats, offset: Floats) -> list[Floats]:
    """Cut a convex polygon along the zero lines of the affine functions `matrix @ x + offset`."""
    values = corners @ matrix.T + offset
    crossing = (values.max(0) > TINY) & (values.min(0) < -TINY)
    parts = [corners]
    for normal, constant in zip(matrix[crossing], offset[crossing], strict=True):
        smaller: list[Floats] = []
        for part in parts:
            heights = part @ normal + constant
            if heights.max() > TINY and heights.min() < -TINY:
                smaller += cut(part, heights)
            else:
                smaller.append(part)
        parts = smaller
    return parts


def patterns(layers: Layers, points: Floats) -> list[bytes]:
    """Return the activation pattern of each point [N, 2], in the form of `Region.pattern`."""
    values, active = points, []
    for weight, bias in layers[:-1]:
        before = values @ weight.T + bias
        active.append(before > 0)
        values = np.maximum(before, 0)
    return [row.tobytes() for row in np.packbits(np.concatenate(active, 1), axis=1)]


def empty_id_regions(regions: Sequence[Region], layers: Layers, points: Floats, classes: int) -> list[Region]:
    """Return the regions called in-distribution that contain none of the training points [N, 2]."""
    held = set(patterns(layers, points))
    return [region for region in regions if region.pattern not in held and region.is_id(classes)]


# --- the problem ---


def half_moons(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw `count` points on two interlocking half circles of radius 1/4 in the unit square, first class 0, then 1."""
    half = count // 2
    angle = math.pi * torch.rand(2, half, generator=generator)
    upper = torch.stack((angle[0].cos(), angle[0].sin()), 1)
    lower = torch.stack((1 - angle[1].cos(), 0.5 - angle[1].sin()), 1)
    return torch.cat((upper, lower)) / 4 + 0.375, torch.arange(2).repeat_interleave(half)


def combined(points: Tensor, generator: Generator) -> Tensor:
    """Return lambda p + (1 - lambda) q, q from the other moon, lambda ~ U(0, 1) for each: PBCC of points."""
    half = len(points) // 2
    other = torch.randint(half, (2, half), generator=generator) + torch.tensor([[half], [0]])
    lam = torch.rand(len(points), 1, generator=generator)
    return lam * points + (1 - lam) * points[other.flatten()]


def blurred(points: Tensor, noise: Sequence[float], generator: Generator) -> Tensor:
    """Add Gaussian noise with one of the standard deviations for each point: a corruption of points."""
    std = torch.tensor(noise)[torch.randint(len(noise), (len(points), 1), generator=generator)]
    return points + std * torch.randn(points.shape, generator=generator)


def toy_outliers(arm: Arm, points: Tensor, noise: Sequence[float], generator: Generator) -> Tensor:
    """Make one outlier for each point, as defined by `arm`."""
    if arm in ("pbcc", "cnc"):
        points = combined(points, generator)
    if arm != "pbcc":
        points = blurred(points, noise, generator)
    return combined(points, generator) if arm == "r_cnc" else points


def train_toy(arm: Arm, points: Tensor, labels: Tensor, config: Config, seed: int, generator: Generator) -> nn.Module:
    """Train a network of two classes ("vanilla") or three, by full-batch Adam."""
    outputs = CLASSES if arm == "vanilla" else CLASSES + 1
    first, second = config.hidden
    with seeded(seed):
        layers = nn.Linear(2, first), nn.Linear(first, second), nn.Linear(second, outputs)
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    optimizer = torch.optim.Adam(network.parameters(), config.lr, foreach=True)
    if arm != "vanilla":
        labels = torch.cat((labels, torch.full_like(labels, CLASSES)))
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.lr * (1 + math.cos(math.pi * step / config.steps)) / 2
        inputs = points
        if arm != "vanilla":
            inputs = torch.cat((points, toy_outliers(arm, points, config.noise, generator)))
        optimizer.zero_grad()
        # As many outliers as points: twice the mean over all is the sum of the two means, alpha = 1.
        loss = functional.cross_entropy(network(inputs), labels) * (1 if arm == "vanilla" else 2)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network


def affine_layers(network: nn.Module) -> Layers:
    """Return weights and biases of the linear layers in float64."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return [(m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in linear]


# --- the measurement ---


def pixel_centres(config: Config) -> Floats:
    """Return centres of the figure's pixels, row by row from the lowest up, [grid^2, 2]."""
    low, high = config.window
    centres = low + (np.arange(config.grid) + 0.5) * (high - low) / config.grid
    return np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)


@torch.no_grad()
def far_auroc(network: nn.Module, points: Tensor, config: Config, generator: Generator) -> float:
    """Return the AUROC of the training points against uniform points of the window that are far from all of them.

    The score is CnC's, or with two classes the maximum softmax probability.
    """
    low, high = config.window
    uniform = low + (high - low) * torch.rand(4 * len(points), 2, generator=generator)
    uniform = uniform[torch.cdist(uniform, points).amin(1) > FAR]
    logits = [network(part).double() for part in (points, uniform)]
    if logits[0].shape[1] == CLASSES:
        inside, outside = (part.softmax(1).amax(1) for part in logits)
    else:
        inside, outside = (cnc_score(part) for part in logits)
    return detection_metrics(inside.numpy(), outside.numpy(), ["auroc"])["auroc"]


def measure(config: Config, context: Context) -> Findings:
    """Train and measure every arm on every seed.

    Returns
    -------
    Findings
        Metrics: empty_id_area (the window has 4 units), log_empty_id_area (base 10), error (percent, class 3 counts as
        wrong), auroc (against far uniform points), regions (their number). Arrays of the first seed: `points`,
        `labels`, `window`, and maps [grid, grid] for every arm: `class_<arm>` (2 = outlier), `empty_<arm>`.
    """
    rows: list[Row] = []
    arrays: dict[str, NDArray[np.generic]] = {"window": np.array(config.window)}
    pixels = pixel_centres(config)
    for seed in context.seeds:
        points, labels = half_moons(config.points, context.generator(seed, "moons"))
        for arm in ARMS:
            # Equal initialisation and equal draws for all arms of a seed.
            start = context.run(seed).seed("initialisation")
            network = train_toy(arm, points, labels, config, start, context.generator(seed, "outliers"))
            layers = affine_layers(network)
            regions = activation_regions(layers, config.window)
            empty = empty_id_regions(regions, layers, points.double().numpy(), CLASSES)
            area = sum(region.area for region in empty)
            with torch.no_grad():
                wrong = (network(points).argmax(1) != labels).double().mean()
            numbers = {
                "empty_id_area": area,
                "log_empty_id_area": math.log10(max(area, SMALLEST_AREA)),
                "error": 100 * float(wrong),
                "auroc": far_auroc(network, points, config, context.generator(seed, "uniform")),
                "regions": float(len(regions)),
            }
            rows += [Row(seed=seed, arm=arm, metric=metric, value=value) for metric, value in numbers.items()]
            if seed == context.seeds[0]:
                arrays["points"], arrays["labels"] = points.numpy(), labels.numpy().astype(np.uint8)
                side = (config.grid, config.grid)
                with torch.no_grad():
                    classes = network(torch.from_numpy(pixels).float()).argmax(1)
                arrays[f"class_{arm}"] = classes.numpy().astype(np.uint8).reshape(side)
                hollow = {region.pattern for region in empty}
                marks = [pattern in hollow for pattern in patterns(layers, pixels)]
                arrays[f"empty_{arm}"] = np.array(marks).reshape(side)
    return Findings(rows, arrays)


STUDY = Study(name="cnc_toy", config=Config, measure=measure)
