"""Changes of training images that CnC compares with its own as outliers (Table 2), on uint8 batches [B, C, H, W].

The authors' code has none of these; each follows the paper that introduced it, with that paper's values unless stated.
PuzzleMix, which transports image parts by saliency under the network that is being trained, is left out.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.transforms import v2

from reprood.engine.seeds import seeded
from reprood.images.randaugment import RESMOOTH_TABLE, randaugment
from reprood.methods.cnc.outliers import draw_partners
from reprood.methods.cutmix import cutmix_batch, draw_lambda, rand_box

Change = Literal["mixup", "cutout", "gridmask", "saliencymix", "augmix", "random_erase", "randaugment", "fmix"]

ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # random erasing (Zhong et al. 2020)
PERIOD, REMOVED = (96 / 224, 1.0), 0.5  # GridMask (Chen et al. 2020): period as a share of the side; share of a period
FMIX_DECAY = 3.0  # FMix (Harris et al. 2020)
OPERATIONS, MAGNITUDE = 2, 14.0  # RandAugment (Cubuk et al. 2020): N = 2, M = 14 of 30


def _mixup(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Average each image with one of another class, with one weight ~ U(0, 1) for the batch."""
    lam, partners = draw_lambda(1.0, generator), draw_partners(labels, generator)
    return (lam * images.float() + (1 - lam) * images[partners].float()).round().to(torch.uint8)


def _cutout(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Give a square of half the side the batch's mean colour, at a place of its own in each image."""
    height, width = images.shape[2:]
    inside = []
    for length in (height, width):
        centre = torch.randint(length, (len(images), 1), generator=generator)
        inside.append((torch.arange(length) >= centre - length // 4) & (torch.arange(length) < centre + length // 4))
    hole = (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).to(images.device).unsqueeze(1)
    mean = images.float().mean((0, 2, 3), keepdim=True).round().to(torch.uint8)
    return torch.where(hole, mean, images)


def _gridmask(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Blacken the squares of a grid whose period and offset are drawn once for the batch; it is not rotated."""
    height, width = images.shape[2:]
    low, high = (max(2, round(share * min(height, width))) for share in PERIOD)
    period = int(torch.randint(low, high + 1, (), generator=generator))
    offsets = torch.randint(period, (2,), generator=generator).tolist()
    rows, columns = (
        (torch.arange(length) + offset) % period < REMOVED * period
        for length, offset in zip((height, width), offsets, strict=True)
    )
    return images.masked_fill((rows[:, None] & columns).to(images.device), 0)


def _random_erase(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Replace a rectangle, drawn once for the batch, by random values of each image's own."""
    height, width = images.shape[2:]
    draws = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    area = (ERASED_AREA[0] + draws[0] * (ERASED_AREA[1] - ERASED_AREA[0])) * height * width
    aspect = math.exp(math.log(ERASED_ASPECT[0]) + draws[1] * (math.log(ERASED_ASPECT[1] / ERASED_ASPECT[0])))
    sides = [
        min(max(1, round(side)), limit)
        for side, limit in zip((math.sqrt(area * aspect), math.sqrt(area / aspect)), (height, width), strict=True)
    ]
    top, left = (
        int(torch.randint(length - side + 1, (), generator=generator))
        for length, side in zip((height, width), sides, strict=True)
    )
    changed = images.clone()
    values = torch.randint(0, 256, (*images.shape[:2], *sides), generator=generator, dtype=torch.uint8)
    changed[:, :, top : top + sides[0], left : left + sides[1]] = values.to(images.device)
    return changed


def saliency(images: Tensor) -> Tensor:
    """Return the length of the blurred grey image's gradient, float32 [B, H, W]: where there is something to see.

    SaliencyMix (Uddin et al. 2021) uses OpenCV's fine-grained saliency, for which this stands in.
    """
    grey = functional.avg_pool2d(images.float().mean(1, keepdim=True), 3, 1, 1)
    down, across = (grey.diff(dim=axis, append=grey.narrow(axis, -1, 1)) for axis in (2, 3))
    return functional.avg_pool2d(down.square() + across.square(), 5, 1, 2).squeeze(1)


def _saliencymix(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Paste the box around the most salient pixel of an image of another class, at the same place."""
    height, width = images.shape[2:]
    lam, partners = draw_lambda(1.0, generator), draw_partners(labels, generator)
    peaks = saliency(images)[partners].flatten(1).argmax(1).tolist()
    changed = images.clone()
    for row, (peak, partner) in enumerate(zip(peaks, partners.tolist(), strict=True)):
        box, _ = rand_box((height, width), lam, divmod(peak, width))
        pair = torch.stack((images[row], images[partner]))
        changed[row] = cutmix_batch(pair, box, torch.tensor([1, 0], device=images.device))[0]
    return changed


def low_frequency_mask(size: tuple[int, int], share: float, generator: Generator, decay: float = FMIX_DECAY) -> Tensor:
    """Return FMix' mask, bool [H, W]: the round(share * H * W) largest values of noise with a falling spectrum.

    The spectrum of Gaussian noise is divided by the frequency to the power of `decay`.
    """
    height, width = size
    frequency = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt()
    spectrum = torch.randn(2, *frequency.shape, generator=generator)
    spectrum = spectrum / frequency.clamp(min=1 / max(height, width)) ** decay
    grey = torch.fft.irfft2(torch.complex(spectrum[0], spectrum[1]), s=size).flatten()
    mask = torch.zeros(height * width, dtype=torch.bool)
    mask[grey.argsort(descending=True)[: round(share * height * width)]] = True
    return mask.view(height, width)


def _fmix(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Take the pixels of a random low-frequency mask, one for the batch, from an image of another class."""
    lam, partners = draw_lambda(1.0, generator), draw_partners(labels, generator)
    mask = low_frequency_mask((images.shape[2], images.shape[3]), 1 - lam, generator).to(images.device)
    return torch.where(mask, images[partners], images)


def _augmix(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Mix three random chains of operations (Hendrycks et al. 2020), by torchvision.

    Its chains may change colour, contrast, brightness and sharpness (`all_ops`), which the authors leave out when they
    test on CIFAR-10-C; CnC does not say which it used.
    """
    mix, seed = v2.AugMix(severity=3, mixture_width=3), int(torch.randint(2**31, (), generator=generator))
    with seeded(seed):
        return torch.stack([mix(image) for image in images.cpu()]).to(images.device)


def _randaugment(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    return randaugment(images, RESMOOTH_TABLE, OPERATIONS, MAGNITUDE, generator)


CHANGES: dict[Change, Callable[[Tensor, Tensor, Generator], Tensor]] = {
    "mixup": _mixup,
    "cutout": _cutout,
    "gridmask": _gridmask,
    "saliencymix": _saliencymix,
    "augmix": _augmix,
    "random_erase": _random_erase,
    "randaugment": _randaugment,
    "fmix": _fmix,
}


def changed(images: Tensor, labels: Tensor, change: Change, generator: Generator) -> Tensor:
    """Return outliers made from uint8 training images [B, C, H, W] of the classes `labels` [B], uint8 like them.

    Where two images are combined, the other one is of another class of the batch if there is one. Nothing else is
    changed: crops and flips are the caller's.
    """
    return CHANGES[change](images, labels, generator)
