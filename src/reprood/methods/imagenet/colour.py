"""Changes of colour in the ImageNet recipe of CutMix's published code: jitter, and lighting along principal components.

Both are those of the code of Facebook's ResNets (fb.resnet.torch), which CutMix's code takes over; the paper names
resizing, cropping and flipping only. They work on a batch with draws per image, before normalisation; nothing is
clipped. Lighting: Krizhevsky, Sutskever, Hinton (2012), section 4.1.
"""

import torch
from torch import Generator, Tensor

GREY = (0.299, 0.587, 0.114)
VALUES = (0.2175, 0.0188, 0.0045)
VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2


def grey(images: Tensor) -> Tensor:
    """Return the grey values [B, 1, H, W] of RGB images (ITU-R 601)."""
    weights = images.new_tensor(GREY).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def jitter(images: Tensor, amounts: Tensor, order: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, in an order of each image's own.

    Each is images + amount * (reference - images), with a black image, the mean of the grey values, or the grey image
    as the reference.

    Parameters
    ----------
    images : Tensor [B, 3, H, W]
        In [0, 1].
    amounts : Tensor [B, 3]
        Of brightness, contrast and saturation; 0 changes nothing, 1 gives the reference.
    order : int64 Tensor [B, 3]
        Which of the three comes first, second and third.

    Examples
    --------
    >>> white = torch.ones(1, 3, 1, 1)
    >>> jitter(white, torch.tensor([[0.25, 0.0, 0.0]]), torch.tensor([[0, 1, 2]])).flatten()
    tensor([0.7500, 0.7500, 0.7500])
    """
    for place in range(3):
        kind = order[:, place].view(-1, 1, 1, 1)
        amount = amounts.gather(1, order[:, place : place + 1]).view(-1, 1, 1, 1)
        own = grey(images)
        reference = torch.where(kind == SATURATION, own, own.mean((2, 3), keepdim=True))
        reference = reference * (kind != BRIGHTNESS)
        images = images + amount * (reference - images)
    return images


def lighting(images: Tensor, amounts: Tensor) -> Tensor:
    """Add sum_k amount_k * value_k * vector_k to each pixel of an image.

    Parameters
    ----------
    images : Tensor [B, 3, H, W]
        In [0, 1].
    amounts : Tensor [B, 3]
        One number for each principal component of ImageNet's colours.
    """
    values, vectors = images.new_tensor(VALUES), images.new_tensor(VECTORS)
    return images + ((amounts * values) @ vectors.T)[:, :, None, None]


def change_colours(images: Tensor, strength: float, deviation: float, generator: Generator) -> Tensor:
    """Apply `jitter` with amounts from U(-strength, strength), then `lighting` with amounts from N(0, deviation)."""
    count = len(images)
    amounts = torch.empty(count, 3).uniform_(-strength, strength, generator=generator)
    order = torch.rand(count, 3, generator=generator).argsort(1)
    light = torch.randn(count, 3, generator=generator) * deviation
    amounts, order, light = (part.to(images.device, non_blocking=True) for part in (amounts, order, light))
    return lighting(jitter(images, amounts, order), light)
