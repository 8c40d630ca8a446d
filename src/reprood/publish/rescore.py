"""Compute the scores of a release's detectors again, as far as they follow from its logits. No torch."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.detectors import registry
from reprood.evaluate.outputs import load_outputs
from reprood.evaluate.predictions import SCORES
from reprood.evaluate.scores import compute, requested

TOLERANCE = 1e-9  # relative; scores computed on another machine may differ in the last bits


def wrong_scores(run: Path, benchmark: Benchmark) -> list[str]:
    """Compare the stored scores of a run with those that its stored logits give.

    Scores of detectors that read features are not checked: a release does not hold features.

    Parameters
    ----------
    run : Path
        The run's folder, with predictions.parquet and scores.parquet.
    benchmark : Benchmark
        With its detectors.

    Returns
    -------
    list of str
        What differs; empty when nothing does.

    Raises
    ------
    ReproodError
        When a file is missing or damaged.
    """
    raw = load_outputs(run, features=False)
    stored = pq.read_table(run / SCORES)
    options = requested(benchmark.detectors, raw.reference.validation.logits.shape[1])
    wrong = []
    for name, chosen in options.items():
        if registry.inputs_of([name]) & registry.FEATURES:
            continue
        column, computed = f"score_{registry.score_name(name)}", compute(name, chosen, raw)
        if (computed.values is None) is (column in stored.column_names):
            raise ReproodError(
                f"{run / SCORES}: the score {name} is {'not ' if computed.values is not None else ''}there"
            )
        if computed.values is None:
            continue
        values = stored[column].to_numpy()
        if len(values) != len(computed.values):
            raise ReproodError(f"{run / SCORES} has {len(values)} rows; the predictions give {len(computed.values)}")
        differing = ~np.isclose(values, computed.values, rtol=TOLERANCE, atol=1e-12)
        if differing.any():
            row = int(differing.argmax())
            wrong.append(
                f"{name} of row {row} is stated as {values[row]:.6g} and computed as {computed.values[row]:.6g} "
                f"({int(differing.sum())} values differ)"
            )
    return wrong
