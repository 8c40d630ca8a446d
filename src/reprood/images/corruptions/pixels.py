"""Corruptions of single values: noise, contrast, brightness, saturation.

All take images [B, C, H, W] in [0, 1] and give values on the scale 0..255, clipped; draws are arguments. A strength is
one number for all images or a tensor [B] with one for each.
"""

import torch
from torch import Tensor


def finish(images: Tensor) -> Tensor:
    """Clip to [0, 1] and go to the scale 0..255."""
    return images.clamp(0, 1).mul_(255)


def each(strength: float | Tensor, images: Tensor) -> float | Tensor:
    """A strength that can be multiplied with images [B, C, H, W]: the number itself, or [B] as [B, 1, 1, 1]."""
    return strength.to(images).view(-1, 1, 1, 1) if isinstance(strength, Tensor) else strength


def gaussian_noise(images: Tensor, normal: Tensor, strength: float | Tensor) -> Tensor:
    """X + c z with standard normal z."""
    return finish(images + each(strength, images) * normal)


def speckle_noise(images: Tensor, normal: Tensor, strength: float | Tensor) -> Tensor:
    """X + c x z."""
    return finish(images + images * each(strength, images) * normal)


def shot_noise(counts: Tensor, strength: float | Tensor) -> Tensor:
    """Poisson(c x) / c; `counts` are the Poisson draws."""
    return finish(counts / each(strength, counts))


def impulse_noise(images: Tensor, flipped: Tensor, salted: Tensor) -> Tensor:
    """Flipped values become 1 where salted and 0 elsewhere; each value by itself, also within a pixel."""
    return finish(torch.where(flipped, salted.to(images.dtype), images))


def contrast(images: Tensor, strength: float | Tensor) -> Tensor:
    """(x - m) c + m with the mean m of each channel."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return finish((images - mean) * each(strength, images) + mean)


def _hue_ramp(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, saturation and the position of each channel between smallest (0) and largest (1)."""
    value = images.amax(dim=1, keepdim=True)
    spread = value - images.amin(dim=1, keepdim=True)
    saturation = torch.where(value > 0, spread / value.clamp(min=1e-12), 0.0)
    place = torch.where(spread > 0, (value - images) / spread.clamp(min=1e-12), 0.0)
    return value, saturation, place


def brightness(images: Tensor, strength: float | Tensor) -> Tensor:
    """V of HSV + c, clipped. Hue and saturation stay, so all channels grow alike; a grey image's V is itself."""
    if images.shape[1] == 1:
        return finish(images + each(strength, images))
    value, saturation, place = _hue_ramp(images)
    return finish((value + each(strength, images)).clamp_(0, 1) * (1 - saturation * place))


def saturate(images: Tensor, factor: float | Tensor, shift: float | Tensor) -> Tensor:
    """S of HSV times a, plus b, clipped. Grey pixels of colour images take the hue 0 (red), as HSV has it.

    Images of one channel have no colour to saturate and stay as they are, at every severity.
    """
    if images.shape[1] == 1:
        return finish(images)
    value, saturation, place = _hue_ramp(images)
    grey = saturation == 0
    red = torch.tensor([0.0, 1.0, 1.0], dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    place = torch.where(grey, red, place)
    vivid = (saturation * each(factor, images) + each(shift, images)).clamp_(0, 1)
    return finish(value * (1 - vivid * place))
