"""Fog: a plasma map is added."""

from torch import Tensor

from reprood.images.corruption import Corruption, Draws, broadcast, clip_to_255


def power_of_two(size: int) -> int:
    """Return the smallest power of two that is at least `size` (and at least 2)."""
    return 1 << max(size - 1, 1).bit_length()


def plasma(uniform: Tensor, side: int, decay: float | Tensor) -> Tensor:
    """Make plasma maps in [0, 1] by the diamond-square algorithm with wrap-around.

    Parameters
    ----------
    uniform : Tensor [B, side * side - 1]
        Draws in [0, 1), in the order of their use.
    side : int
        A power of two.
    decay : float or Tensor [B]
        The random displacement is divided by it at each finer step.

    Returns
    -------
    Tensor [B, side, side]
        Of the dtype of the draws.
    """
    if isinstance(decay, Tensor):
        decay = decay.to(uniform).view(-1, 1, 1)
    maps = uniform.new_zeros(len(uniform), side, side)
    signed = 2 * uniform - 1
    used, step = 0, side
    wobble: float | Tensor = 100.0

    def draw() -> Tensor:
        nonlocal used
        cells = side // step
        drawn = signed[:, used : used + cells * cells].view(-1, cells, cells)
        used += cells * cells
        return drawn * (wobble * wobble)

    while step >= 2:
        half = step // 2
        corners = maps[:, ::step, ::step]
        down, across = corners + corners.roll(-1, 1), corners + corners.roll(-1, 2)
        centres = (down + down.roll(-1, 2)).div_(4).add_(draw())
        maps[:, half::step, half::step] = centres
        maps[:, ::step, half::step] = across.add_(centres).add_(centres.roll(1, 1)).div_(4).add_(draw())
        maps[:, half::step, ::step] = down.add_(centres).add_(centres.roll(1, 2)).div_(4).add_(draw())
        step, wobble = half, wobble / decay
    maps -= maps.amin(dim=(1, 2), keepdim=True)
    return maps.div_(maps.amax(dim=(1, 2), keepdim=True))


def fog(images: Tensor, uniform: Tensor, side: int, amount: float | Tensor, decay: float | Tensor) -> Tensor:
    """Return x + amount P, scaled so that the largest value of the image is kept, with one plasma P for all channels.

    Parameters
    ----------
    images : Tensor [B, C, H, W]
        In [0, 1].
    uniform, side, decay
        As in `plasma`; `side` is at least H and W.
    amount : float or Tensor [B]
        Weight of the plasma.

    Returns
    -------
    Tensor [B, C, H, W]
        On the scale 0..255.
    """
    height, width = images.shape[2:]
    mist = plasma(uniform, side, decay)[:, None, :height, :width].to(images)
    amount = broadcast(amount, images)
    largest = images.amax(dim=(1, 2, 3), keepdim=True)
    return clip_to_255((images + amount * mist) * (largest / (largest + amount)))


def _draw(images: Tensor, strength: tuple[float | Tensor, float | Tensor], draws: Draws) -> Tensor:
    side = power_of_two(max(images.shape[2:]))
    return fog(images, draws.uniform(len(images), side * side - 1), side, *strength)


# Strength: amount, decay of the plasma.
CORRUPTION = Corruption(
    "fog",
    _draw,
    cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
)
