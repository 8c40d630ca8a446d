"""Outliers of CnC: patch-based convex combination (PBCC), corruption, and both, made from training images."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Generator, Tensor

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.problem import Problem
from reprood.engine.run import Run
from reprood.images.augment import normalise, random_crop, random_flip
from reprood.images.corruption import corrupt_mixed
from reprood.methods.cnc.settings import CORRUPTIONS, Config, Frost, Pairs, Strengths
from reprood.methods.cutmix import cutmix_batch, draw_centre, draw_lambda, rand_box

# Steps for which outliers are made at once: with 75 kinds of corruption one batch has few images of a kind, and
# corrupting these separately takes eight times as long.
BLOCK = 32


def draw_partners(labels: Tensor, generator: Generator, pairs: Pairs = "other_class") -> Tensor:
    """Draw for every image the row of the image that it is combined with, int64 [B].

    Parameters
    ----------
    labels : int64 Tensor [B]
        Class indices.
    generator : Generator
        Source of the draws, on the CPU.
    pairs : {"other_class", "any"}
        "any" is the code's random permutation, in which some images meet their own class. "other_class" draws
        uniformly among the batch's images of other classes; if there are none, an image is its own partner.
    """
    count = len(labels)
    if pairs == "any":
        return torch.randperm(count, generator=generator).to(labels.device, non_blocking=True)
    draws = torch.rand(count, generator=generator, dtype=torch.float64).to(labels.device, non_blocking=True)
    others = labels[:, None] != labels
    available = others.sum(1)
    wanted = (draws * available).long()
    partner = (others.cumsum(1) > wanted[:, None]).int().argmax(1)
    return torch.where(available > 0, partner, torch.arange(count, device=labels.device))


def pbcc(images: Tensor, partners: Tensor, lam: float, centre: tuple[int, int]) -> Tensor:
    """Combine each image with its partner: x~ = M x + (1 - M) x[partner], M zero in one rectangle (section 3.1, eq. 1).

    CutMix's box and paste, without its mixed labels: the result belongs to the extra class.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        Of any type; not changed.
    partners : int64 Tensor [B]
        Rows of the other images.
    lam : float
        lambda in [0, 1]; the box has sides floor(H sqrt(1 - lambda)) and floor(W sqrt(1 - lambda)).
    centre : (int, int)
        Of the box, on axes 2 and 3; parts outside the image are cut off.

    Examples
    --------
    >>> images = torch.tensor([0, 1]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    >>> pbcc(images, torch.tensor([1, 0]), lam=0.75, centre=(2, 2))[0, 0]
    tensor([[0, 0, 0, 0],
            [0, 1, 1, 0],
            [0, 1, 1, 0],
            [0, 0, 0, 0]])
    """
    box, _ = rand_box((images.shape[2], images.shape[3]), lam, centre)
    return cutmix_batch(images, box, partners)


def random_pbcc(images: Tensor, labels: Tensor, generator: Generator, pairs: Pairs = "other_class") -> Tensor:
    """Apply `pbcc` with random partners and, as in the code, one lambda ~ U(0, 1) and one centre per batch."""
    lam = draw_lambda(1.0, generator)
    partners = draw_partners(labels, generator, pairs)
    return pbcc(images, partners, lam, draw_centre((images.shape[2], images.shape[3]), generator))


def rotate_at(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image about its centre by `degrees` [B], to the nearest pixel; pixels from outside are 0.

    Counter-clockwise for positive angles, as in the code. Indexing keeps integer pixels exact.
    """
    batch, channels, height, width = images.shape
    angle = torch.deg2rad(degrees.double()).view(-1, 1, 1)
    down = torch.arange(height, device=images.device, dtype=torch.float64).view(-1, 1) - (height - 1) / 2
    across = torch.arange(width, device=images.device, dtype=torch.float64) - (width - 1) / 2
    column = (angle.cos() * across - angle.sin() * down + width / 2).floor().long()
    row = (angle.sin() * across + angle.cos() * down + height / 2).floor().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = (row * width + column).where(inside, 0).view(batch, 1, -1).expand(-1, channels, -1)
    turned = images.flatten(2).gather(2, place).view_as(images)
    return turned.masked_fill_(~inside[:, None], 0)


def outlier_geometry(images: Tensor, config: Config, generator: Generator) -> Tensor:
    """Crop, flip in both directions and rotate by a uniform angle, as the code does with the images for outliers.

    With `same_geometry`, and always for "pbcc": only what `training.augment` does with ID images. uint8 in and out.
    """
    training, like_id = config.training, config.same_geometry or config.outliers == "pbcc"
    if not like_id or training.augment in ("crop_flip", "crop"):
        images = random_crop(images, training.crop_padding, generator)
    if not like_id or training.augment in ("crop_flip", "flip"):
        images = random_flip(images, generator)
    if like_id:
        return images
    images = random_flip(images.transpose(2, 3), generator).transpose(2, 3)
    degrees = (2 * torch.rand(len(images), generator=generator, dtype=torch.float64) - 1) * config.rotation
    return rotate_at(images, degrees.to(images.device, non_blocking=True))


def frost_crops(problem: Problem, strengths: Strengths, frost: Frost, where: str) -> Tensor | None:
    """Return the crops of photographs of frost, uint8 [N, C, H, W]; None if frost is drawn.

    Raises
    ------
    ReproodError
        If the benchmark does not have the auxiliary set `frost_<strengths>`; `where` begins the message.
    """
    if frost == "drawn":
        return None
    name = f"frost_{strengths}"
    if name not in problem.auxiliary:
        raise ReproodError(
            f"{where}: the corruption 'frost' needs the auxiliary set '{name}', a split of the data set 'frost'; add "
            "it to the benchmark, or set frost to 'drawn'."
        )
    return problem.auxiliary[name].images


def make_outliers(
    images: Tensor, labels: Tensor, config: Config, generator: Generator, frost: Tensor | None = None
) -> Tensor:
    """Make outliers from training images (section 3.1), uint8 [B, C, H, W] in and out; geometry is not changed here.

    Parameters
    ----------
    images : uint8 Tensor [B, C, H, W]
        Training images, of one batch or of several: each `training.batch_size` of them share a box.
    labels : int64 Tensor [B]
        Their classes.
    config : Config
        `outliers`, `pairs`, `corruptions`, `strengths`.
    generator : Generator
        Source of all draws.
    frost : uint8 Tensor [N, C, H, W] or None
        Crops of photographs of frost; None: a texture is drawn.
    """
    batch = config.training.batch_size

    def combined(images: Tensor) -> Tensor:
        parts = zip(torch.split(images, batch), torch.split(labels, batch), strict=True)
        return torch.cat([random_pbcc(part, classes, generator, config.pairs) for part, classes in parts])

    if config.outliers == "pbcc":
        return combined(images)
    names = ("gaussian_noise",) if config.outliers == "gaussian_noise" else config.corruptions
    changed = combined(images) if config.outliers == "cnc" else images
    changed = corrupt_mixed(changed, [CORRUPTIONS[name] for name in names], generator, config.strengths, frost)
    return combined(changed) if config.outliers == "reversed" else changed


def outlier_batches(problem: Problem, config: Config, run: Run) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to its outliers, normalised, one for each ID image.

    As in the code they come from another order of the same training images, a new one each epoch. They are made for
    `BLOCK` steps at once, from draws that depend on the epoch and the block alone.
    """
    size, data = config.training.batch_size, problem.train
    mean, std = outlier_normalisation(problem, config)
    frosted = config.outliers not in ("pbcc", "gaussian_noise") and "frost" in config.corruptions
    frost = frost_crops(problem, config.strengths, config.frost, run.name) if frosted else None
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    @lru_cache(maxsize=1)
    def block(epoch: int, number: int) -> Tensor:
        order = torch.randperm(len(data), generator=run.generator("outliers", epoch))
        rows = order[number * BLOCK * size : (number + 1) * BLOCK * size].to(run.device)
        generator = run.generator("outliers", epoch, number)
        with torch.autocast(run.device.type, enabled=False):  # losses are computed under autocast, images are not
            images = outlier_geometry(data.images.index_select(0, rows), config, generator)
            return make_outliers(images, data.labels.index_select(0, rows), config, generator, frost)

    def outliers(batch: Batch) -> Tensor:
        number, step = divmod(batch.step, BLOCK)
        images = block(batch.epoch, number)[step * size : step * size + len(batch.index)]
        return normalise(images, mean, std).contiguous(memory_format=layout)

    return outliers


def outlier_normalisation(problem: Problem, config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation per channel by which outliers are normalised."""
    if config.same_normalisation or config.outliers == "pbcc":
        return problem.mean, problem.std
    ratio = config.std_ratio if problem.channels == 3 else (sum(config.std_ratio) / 3,) * problem.channels
    return problem.mean, tuple(std * factor for std, factor in zip(problem.std, ratio, strict=True))
