"""Anomaly maps as bytes: 12-bit quantisation and delta coding. No torch.

Maps are smooth, and differences between neighbouring pixels compress to a quarter of the size of the maps. The coding
is lossless; the only loss is the rounding to `LEVELS + 1` levels of one linear scale for all maps of a run.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The highest level. Pixel AUROC changes by less than 1e-4, which tests/evaluate/test_map_codec.py checks.
LEVELS = 2**12 - 1


def pack_maps(levels: NDArray[np.uint16]) -> list[bytes]:
    """Encode each map as a string of 2 H W bytes.

    A pixel is predicted as left + above - above left (zero outside); the differences, 0, -1, 1, -2, ... numbered from
    zero on, are stored as all low bytes and then all high bytes.

    Parameters
    ----------
    levels : uint16 array [N, H, W]
        Quantised maps, 0 .. `LEVELS`.
    """
    padded = np.pad(levels.astype(np.int32), ((0, 0), (1, 0), (1, 0)))
    left = padded[:, :, 1:] - padded[:, :, :-1]
    wrapped = (left[:, 1:] - left[:, :-1]).astype(np.int16).astype(np.int32)
    numbered = (((wrapped << 1) ^ (wrapped >> 31)) & 0xFFFF).astype("<u2").reshape(len(levels), -1)
    planes = numbered.view(np.uint8).reshape(len(levels), -1, 2)
    return [one.T.tobytes() for one in planes]


def unpack_maps(packed: Sequence[bytes], side: int) -> NDArray[np.uint16]:
    """Decode maps, uint16 [N, side, side].

    Raises
    ------
    ValueError
        When the length of a string is not `2 * side * side`.
    """
    pixels = side * side
    if any(len(one) != 2 * pixels for one in packed):
        raise ValueError(f"a map is not of {side} x {side} pixels")
    planes = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, 2, pixels).astype(np.int32)
    numbered = planes[:, 0] | planes[:, 1] << 8
    differences = (numbered >> 1) ^ -(numbered & 1)
    sums = differences.reshape(-1, side, side).cumsum(axis=1, dtype=np.int64).cumsum(axis=2)
    return sums.astype(np.uint16)  # modulo 2**16, as the differences are
