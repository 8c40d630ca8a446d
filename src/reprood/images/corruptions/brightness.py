"""Brightness: a constant is added to the value of HSV."""

from torch import Tensor

from reprood.images import hsv
from reprood.images.corruption import Corruption, broadcast, clip_to_255


def brightness(images: Tensor, amount: float | Tensor) -> Tensor:
    """Return images [B, C, H, W] in [0, 1] with `amount` added to V of HSV, clipped, on the scale 0..255.

    Hue and saturation are kept, so all channels grow by the same factor; V of a grey image is the image itself.
    `amount` is a number or a tensor [B].
    """
    if images.shape[1] == 1:
        return clip_to_255(images + broadcast(amount, images))
    value, saturation, position = hsv.decompose(images)
    return clip_to_255((value + broadcast(amount, images)).clamp_(0, 1) * (1 - saturation * position))


CORRUPTION = Corruption(
    "brightness",
    lambda x, amount, draws: brightness(x, amount),
    cifar=(0.05, 0.1, 0.15, 0.2, 0.3),
    imagenet=(0.1, 0.2, 0.3, 0.4, 0.5),
)
