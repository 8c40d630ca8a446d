"""Scores as ranks: their order without loss, their values by interpolation between a few stored ones.

Every metric and interval of detection on one score depends on the order and the ties of its values alone, so that
ranks of 16 bits instead of numbers of 64 give the same bits. The values on both sides of a threshold are stored as
well, so that the same samples exceed it. Calibration errors and means over seeds depend on the values: such scores are
stored unchanged.
"""

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprood.core.errors import ReproodError

MISSING = -1  # the code of a row without a score
TYPES = {"float": "<f4", "double": "<f8"}  # by arrow's names
MOST = 1 << 24  # different values of a column
KNOTS = 16  # stored values at equally spaced ranks


def encode(
    values: NDArray[Any], knots: int = KNOTS, thresholds: Iterable[float] = ()
) -> tuple[NDArray[np.int32], dict[str, Any]] | None:
    """Return the dense rank of every value, and what `decode` needs; None when that would not give the ranks back.

    Encoding decoded values gives the same ranks and the same record.

    Parameters
    ----------
    values : float32 or float64 array [N]
        Finite, or NaN where a row has no score.
    knots : int
        Number of values that are stored, at equally spaced ranks; at least 2.
    thresholds : iterable of float
        The values next to these are stored as well, so that no value changes its side.

    Returns
    -------
    int32 array [N], dict
        Ranks from 0, `MISSING` for NaN; the type, the number of different values, and the stored ones with their ranks.
    """
    present = ~np.isnan(values)
    different, inverse = np.unique(values[present], return_inverse=True)
    if not len(different) or not np.isfinite(different).all():
        return None
    kind = next((name for name, form in TYPES.items() if values.dtype == np.dtype(form)), "")
    if not kind:
        return None
    places = set(np.linspace(0, len(different) - 1, min(len(different), knots)).round().astype(int).tolist())
    for threshold in thresholds:
        above = int(np.searchsorted(different, threshold, side="right"))
        places |= {place for place in (above - 1, above) if 0 <= place < len(different)}
    stored = different[sorted(places)]
    record = {
        "type": kind,
        "different": len(different),
        "places": sorted(places),
        "values": base64.b64encode(stored.astype(TYPES[kind]).tobytes()).decode(),
    }
    if not (np.diff(_interpolated(record)) > 0).all():
        return None
    codes = np.full(len(values), MISSING, dtype=np.int32)
    codes[present] = inverse
    return codes, record


def decode(codes: NDArray[Any], record: dict[str, Any]) -> NDArray[Any]:
    """Return the values of ranks, in the type that was encoded; NaN for `MISSING`.

    Raises
    ------
    ReproodError
        When the record is damaged, or a rank is not one of it.

    Examples
    --------
    >>> codes, record = encode(np.array([0.5, 0.25, np.nan, 0.5]), 2)
    >>> codes
    array([ 1,  0, -1,  1], dtype=int32)
    >>> decode(codes, record)
    array([0.5 , 0.25,  nan, 0.5 ])
    """
    table = np.append(_interpolated(record), np.nan)
    if len(codes) and (codes.min() < MISSING or codes.max() >= len(table) - 1):
        raise ReproodError(f"A score has a rank outside 0 to {len(table) - 2}; get the release again.")
    return np.asarray(table[codes].astype(TYPES[record["type"]]))


def _interpolated(record: dict[str, Any]) -> NDArray[Any]:
    """Return the value of each rank."""
    try:
        form, different = TYPES[record["type"]], int(record["different"])
        places = np.array(record["places"], dtype=np.int64)
        stored = np.frombuffer(base64.b64decode(record["values"], validate=True), form)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ReproodError(f"The record of a score's ranks is damaged ({error!r}); get the release again.") from error
    if not 0 < different <= MOST or places.ndim != 1 or len(places) != len(stored) or not np.isfinite(stored).all():
        raise ReproodError("The record of a score's ranks is damaged; get the release again.")
    if not (len(places) and places[0] == 0 and places[-1] == different - 1 and (np.diff(places) > 0).all()):
        raise ReproodError("The record of a score's ranks is damaged; get the release again.")
    return np.asarray(np.interp(np.arange(different), places, stored.astype(np.float64)).astype(form))
