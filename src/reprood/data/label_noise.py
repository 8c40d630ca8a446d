"""Draw wrong labels as in the code of Hendrycks et al. (2019), part "label corruption".

The legacy generator of numpy is used on purpose: its stream is part of the published protocol.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from reprood.core.errors import ReproodError

Kind = Literal["uniform", "flip", "hierarchical"]


def corruption_matrix(
    classes: int, kind: Kind, strength: float, seed: int = 1, superclasses: Sequence[int] | None = None
) -> np.ndarray:
    """Return C [K, K] with C_ij = P(noisy label j | true label i).

    Parameters
    ----------
    classes : int
        K.
    kind : {"uniform", "flip", "hierarchical"}
        uniform: p / K + (1 - p) I; flip: a label changes with probability p to one other class, drawn for each row;
        hierarchical: p is spread evenly over the other classes of the superclass.
    strength : float
        p in [0, 1].
    seed : int
        Seed of the drawn classes (flip).
    superclasses : sequence of int, optional
        Superclass of each class (hierarchical).

    Raises
    ------
    ReproodError
        If `hierarchical` gets no superclass for each class.
    """
    if kind == "uniform":
        return np.full((classes, classes), strength / classes) + (1 - strength) * np.eye(classes)
    matrix = (1 - strength) * np.eye(classes)
    if kind == "flip":
        random = np.random.RandomState(seed)
        for row in range(classes):
            matrix[row, random.choice(np.delete(np.arange(classes), row))] = strength
        return matrix
    if superclasses is None or len(superclasses) != classes:
        raise ReproodError(f"Hierarchical label noise needs 'superclasses', one number for each of {classes} classes.")
    groups = np.asarray(superclasses)
    for row in range(classes):
        others = np.flatnonzero((groups == groups[row]) & (np.arange(classes) != row))
        if not len(others):
            raise ReproodError(
                f"Class {row} is alone in its superclass; hierarchical label noise needs at least two classes in each."
            )
        matrix[row, others] += strength / len(others)
    return matrix


def corrupt_labels(
    labels: np.ndarray,
    classes: int,
    kind: Kind,
    strength: float,
    seed: int = 1,
    superclasses: Sequence[int] | None = None,
) -> np.ndarray:
    """Return noisy labels int64 [N]: one draw per label, in order."""
    matrix = corruption_matrix(classes, kind, strength, seed, superclasses)
    random = np.random.RandomState(seed)
    return np.array([random.choice(classes, p=matrix[label]) for label in labels], dtype=np.int64)


def gold_rows(labels: np.ndarray, classes: int, fraction: float) -> np.ndarray:
    """Return which rows are trusted, bool [N]: the first N * fraction, or below 0.05 equally many of each class.

    Raises
    ------
    ReproodError
        If a class would have no trusted image.
    """
    count = int(len(labels) * fraction)
    chosen = np.zeros(len(labels), bool)
    if fraction >= 0.05:
        chosen[:count] = True
    else:
        for label in range(classes):
            chosen[np.flatnonzero(labels == label)[: count // classes]] = True
    missing = sorted(set(range(classes)) - set(labels[chosen].tolist()))
    if missing:
        raise ReproodError(
            f"A trusted fraction of {fraction:g} leaves class {missing[0]} without images; raise 'trusted'."
        )
    return chosen
