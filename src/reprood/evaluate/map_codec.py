"""Anomaly maps as bytes: 12 bits a pixel, what a pixel's neighbours foretell taken away. No torch.

Maps are smooth, and their differences are small numbers that compress to a quarter of what the maps themselves do. The
coding is lossless; the one loss is the rounding to `LEVELS + 1` levels of one linear scale for the whole run.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVELS = (
    2**12 - 1
)  # the highest level; pixel AUROC moves by less than 1e-4, which tests/evaluate/test_map_codec.py checks


def pack_maps(levels: NDArray[np.uint16]) -> list[bytes]:
    """One string of 2 H W bytes for each map.

    A pixel is foretold as left + above - above left (zero outside); the differences, 0, -1, 1, -2, ... numbered from
    zero on, are stored as all low bytes and then all high bytes.

    Parameters
    ----------
    levels : uint16 array [N, H, W]
    """
    whole = np.pad(levels.astype(np.int32), ((0, 0), (1, 0), (1, 0)))
    left = whole[:, :, 1:] - whole[:, :, :-1]
    wrapped = (left[:, 1:] - left[:, :-1]).astype(np.int16).astype(np.int32)
    numbered = (((wrapped << 1) ^ (wrapped >> 31)) & 0xFFFF).astype("<u2").reshape(len(levels), -1)
    planes = numbered.view(np.uint8).reshape(len(levels), -1, 2)
    return [one.T.tobytes() for one in planes]


def unpack_maps(packed: Sequence[bytes], side: int) -> NDArray[np.uint16]:
    """The maps again, uint16 [N, side, side].

    Raises
    ------
    ValueError
        When a string has another length than `2 * side * side`.
    """
    pixels = side * side
    if any(len(one) != 2 * pixels for one in packed):
        raise ValueError(f"a map is not of {side} x {side} pixels")
    planes = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, 2, pixels).astype(np.int32)
    numbered = planes[:, 0] | planes[:, 1] << 8
    differences = (numbered >> 1) ^ -(numbered & 1)
    sums = differences.reshape(-1, side, side).cumsum(axis=1, dtype=np.int64).cumsum(axis=2)
    return sums.astype(np.uint16)  # modulo 2**16, as the differences are
