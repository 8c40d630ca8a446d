"""Wrong labels, drawn as the code of Hendrycks et al. (2019) draws them (part "label corruption"). No torch.

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
    """C [K, K] with C_ij = P(noisy label j | true label i).

    Parameters
    ----------
    classes : int
        K.
    kind : {"uniform", "flip", "hierarchical"}
        uniform: p / K + (1 - p) I; flip: 1 - p stays, p goes to one other class drawn for each row; hierarchical: p is
        spread evenly over the other classes of the super-class.
    strength : float
        p in [0, 1].
    seed : int
        Of the drawn classes (flip).
    superclasses : sequence of int, optional
        Super-class of each class (hierarchical).

    Raises
    ------
    ReproodError
        When `hierarchical` is given no super-classes for its classes.
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
            raise ReproodError(f"Class {row} is alone in its super-class; hierarchical label noise has nowhere to go.")
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
    """Noisy labels int64 [N]: one draw for each label, in order."""
    matrix = corruption_matrix(classes, kind, strength, seed, superclasses)
    random = np.random.RandomState(seed)
    return np.array([random.choice(classes, p=matrix[label]) for label in labels], dtype=np.int64)


def gold_rows(labels: np.ndarray, classes: int, fraction: float) -> np.ndarray:
    """Which rows are trusted, bool [N]: the first N * fraction; for fractions below 0.05 so many of every class.

    Raises
    ------
    ReproodError
        When a class would have no trusted image.
    """
    count = int(len(labels) * fraction)
    chosen = np.zeros(len(labels), bool)
    if fraction >= 0.05:
        chosen[:count] = True
    else:
        for label in range(classes):
            chosen[np.flatnonzero(labels == label)[: count // classes]] = True
    lacking = sorted(set(range(classes)) - set(labels[chosen].tolist()))
    if lacking:
        raise ReproodError(
            f"A trusted share of {fraction:g} leaves class {lacking[0]} without images; raise 'trusted'."
        )
    return chosen
