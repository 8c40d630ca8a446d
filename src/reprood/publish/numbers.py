"""Equality of tables of numbers that were computed on two machines."""

import numpy as np
import pandas as pd

TOLERANCE = 1e-9  # relative; metrics computed on another machine may differ in the last bits


def same_numbers(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Return whether texts and integers are equal, and other numbers equal to a relative 1e-9 (or both missing)."""
    if list(first.columns) != list(second.columns) or len(first) != len(second):
        return False
    for name in first.columns:
        a, b = first[name], second[name]
        if pd.api.types.is_float_dtype(a) and pd.api.types.is_numeric_dtype(b):
            if not np.allclose(a, b.astype(float), rtol=TOLERANCE, atol=1e-12, equal_nan=True):
                return False
        elif not a.astype(str).equals(b.astype(str)):
            return False
    return True
