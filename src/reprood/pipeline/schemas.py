"""JSON schemas of the configuration; `python -m reprood.pipeline.schemas` writes them to workflow/schemas/."""

from pathlib import Path
from typing import Any

from reprood.audit.papers import Paper
from reprood.config.settings import Settings
from reprood.config.suite import Suite
from reprood.core.files import write_json
from reprood.data.entries import DatasetEntry

FOLDER = Path("workflow/schemas")


def schemas() -> dict[str, Any]:
    """Return the schemas of `config/config.yaml`, a suite, a paper and a catalogue entry by file name."""
    return {
        "config.schema.json": Settings.model_json_schema(),
        "suite.schema.json": Suite.model_json_schema(),
        "paper.schema.json": Paper.model_json_schema(),
        "dataset.schema.json": DatasetEntry.model_json_schema(),
    }


if __name__ == "__main__":
    for name, schema in schemas().items():
        write_json(FOLDER / name, schema)
