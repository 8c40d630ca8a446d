"""JPEG compression."""

import io

from PIL import Image
from torch import Tensor

from reprood.images.corruption import Corruption
from reprood.images.pillow import from_pillow, to_pillow


def jpeg_compression(images: Tensor, quality: int) -> Tensor:
    """Encode images [B, C, H, W] in [0, 1] as JPEG with Pillow and decode them; returns values on the scale 0..255."""
    changed = []
    for picture in to_pillow(images):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        changed.append(Image.open(io.BytesIO(buffer.getvalue())))
    return from_pillow(changed, images)


# Strength: quality.
CORRUPTION = Corruption(
    "jpeg_compression",
    lambda x, quality, draws: jpeg_compression(x, int(quality)),
    cifar=(80, 65, 58, 50, 40),
    imagenet=(25, 18, 15, 10, 7),
    per_image=False,
)
