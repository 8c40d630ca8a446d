"""Pixelation: fewer, larger pixels."""

from PIL import Image
from torch import Tensor

from reprood.images.corruption import Corruption
from reprood.images.pillow import from_pillow, to_pillow


def pixelate(images: Tensor, fraction: float) -> Tensor:
    """Shrink images [B, C, H, W] in [0, 1] to a fraction of the side by averaging, and enlarge them by repeating.

    Both steps are Pillow's (box filter, nearest neighbour). Returns values on the scale 0..255.
    """
    height, width = images.shape[2:]
    small = (max(int(width * fraction), 1), max(int(height * fraction), 1))
    box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
    changed = [picture.resize(small, box).resize((width, height), nearest) for picture in to_pillow(images)]
    return from_pillow(changed, images)


CORRUPTION = Corruption(
    "pixelate",
    lambda x, fraction, draws: pixelate(x, fraction),
    cifar=(0.95, 0.9, 0.85, 0.75, 0.65),
    imagenet=(0.6, 0.5, 0.4, 0.3, 0.25),
    per_image=False,
)
