"""The generator and the discriminator of a DCGAN (Radford et al. 2016), in the form of the code of ARPL and DIAS.

Images of a side H grow from maps of a side h, which is H halved for as long as it is even and above 4 (32 -> 4,
28 -> 7): the generator doubles as often as the discriminator halves.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from reprood.core.errors import ReproodError

SLOPE = 0.2


def sides(size: int) -> tuple[int, int]:
    """Return the side of the smallest maps and the number of halvings for images of side `size`.

    Raises
    ------
    ReproodError
        If the side cannot be halved once.

    Examples
    --------
    >>> sides(32), sides(28)
    ((4, 3), (7, 2))
    """
    side, halvings = size, 0
    while side % 2 == 0 and side > 4:
        side, halvings = side // 2, halvings + 1
    if halvings == 0:
        raise ReproodError(
            f"A generator doubles maps; expected images with an even side above 4, but got {size} pixels."
        )
    return side, halvings


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Noise [B, n, 1, 1] to images [B, C, size, size] in (0, 1).

    Parameters
    ----------
    noise : int
        n.
    channels, size : int
        Of the images.
    width : int
        Channels of the last hidden maps; each earlier doubling has twice as many.
    """

    def __init__(self, noise: int, channels: int, size: int, width: int) -> None:
        super().__init__()
        side, doublings = sides(size)
        self.noise = noise
        widths = [width * 2**step for step in reversed(range(doublings))]
        self.grow = nn.ModuleList([nn.ConvTranspose2d(noise, widths[0], side, 1, 0, bias=False)])
        for inputs, outputs in zip(widths, [*widths[1:], channels]):
            self.grow.append(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for outputs in widths)
        _initialise(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Return images generated from noise ~ N(0, 1)."""
        for grow, norm in zip(self.grow, self.norms):
            noise = functional.relu_(norm(grow(noise)))
        return self.grow[-1](noise).sigmoid()  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Images [B, C, size, size] in [0, 1] to log-odds [B] that they are real.

    As in the code there is a sigmoid before the last layer as well, which damps the gradients.

    Parameters
    ----------
    channels, size : int
        Of the images.
    width : int
        Channels of the first maps; each halving doubles them.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        side, halvings = sides(size)
        widths = [width * 2**step for step in range(halvings + 1)]
        self.shrink = nn.ModuleList([nn.Conv2d(channels, width, 4, 2, 1, bias=False)])
        self.shrink.extend(nn.Conv2d(i, o, 4, 2, 1, bias=False) for i, o in pairwise(widths[:-1]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for outputs in widths[1:-1])
        self.last = nn.Conv2d(widths[-2], widths[-1], side, 1, 0, bias=False)
        self.head = nn.Linear(widths[-1], 1)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-odds of "real"; their sigmoid is the probability."""
        maps = functional.leaky_relu(self.shrink[0](images), SLOPE)
        for shrink, norm in zip(self.shrink[1:], self.norms):
            maps = functional.leaky_relu(norm(shrink(maps)), SLOPE)
        return self.head(self.last(maps).sigmoid().mean((2, 3))).squeeze(1)  # type: ignore[no-any-return]
