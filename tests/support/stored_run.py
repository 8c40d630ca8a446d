"""Write a run's predictions and scores from made-up columns, in the form of the predict and evaluate stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprood.config.conditions import is_condition
from reprood.core.files import canonical_json
from reprood.detectors import registry
from reprood.evaluate.scores import write_scores


def write_run(folder: Path, columns: Mapping[str, Any], facts: Mapping[str, Any], **detectors: Any) -> None:
    """Write predictions.parquet and scores.parquet; columns `score_<detector>` go to the second.

    Conditions are rows at the end. `detectors` are records of the metadata: name -> {"fitted": {...}}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = {name[6:]: values for name, values in columns.items() if name.removeprefix("score_") in registry.names()}
    own = {name: values for name, values in columns.items() if name.removeprefix("score_") not in scores}
    if "logits" in own:
        logits = np.asarray(own["logits"], np.float32)
        own["logits"] = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
    table = pa.table(own).replace_schema_metadata({"reprood": canonical_json(facts)})
    pq.write_table(table, folder / "predictions.parquet")
    rows: dict[str, int] = {}
    for split in map(str, columns["split"]):
        if not is_condition(split):
            rows[split] = rows.get(split, 0) + 1
    count = sum(rows.values())
    run = {key: facts[key] for key in ("benchmark", "method", "seed")}
    values = {name: np.asarray(column, np.float64)[:count] for name, column in scores.items()}
    write_scores(folder / "scores.parquet", rows, values, {**run, "detectors": detectors, "skipped": {}})
