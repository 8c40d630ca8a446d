"""Changes of a release, and what does not hold in it."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from reprood.core.files import canonical_json
from reprood.publish.verify import verify


def wrong(folder, **options) -> dict[str, tuple[str, ...]]:
    return {check.name: check.details for check in verify(folder, **options).checks if check.holds is False}


def rewrite(path, change):
    table = pq.read_table(path)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    facts = json.loads(table.schema.metadata[b"reprood"])
    change(columns, facts)
    made = pa.table(columns, schema=table.schema.remove_metadata())
    pq.write_table(made.replace_schema_metadata({"reprood": canonical_json(facts)}), path)


def replace(path, old, new):
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))


def one_prediction(folder):
    def change(columns, facts):
        row = columns["split"].index("test")
        columns["label_rank"][row] = 1 - min(columns["label_rank"][row], 1)

    rewrite(folder / "runs/toy/good/1/predictions.parquet", change)


def one_metric(folder):
    path = folder / "runs/toy/good/0/metrics.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[6] = "0.5"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


FILES = "files are those that were listed"
SCORES = "scores of detectors follow from the logits"
