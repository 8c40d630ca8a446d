"""JSON schemas of the configuration; `python -m reprood.pipeline.schemas` writes them to workflow/schemas/."""

import inspect
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from reprood.audit.papers import Paper
from reprood.config.settings import Settings
from reprood.config.suite import Suite
from reprood.core.files import write_json
from reprood.data.entries import DatasetEntry

FOLDER = Path("workflow/schemas")
SECTION = re.compile(r"\n*^Attributes\n-+\n(?P<body>.*?)(?=\n\n\S[^\n]*\n-+\n|\Z)", re.MULTILINE | re.DOTALL)


def attributes_of(docstring: str) -> dict[str, str]:
    r"""Return the descriptions in the section "Attributes" of a docstring, by attribute.

    Examples
    --------
    >>> attributes_of("Summary.\n\nAttributes\n----------\nlow, high : float\n    Ends of the\n    range.")
    {'low': 'Ends of the range.', 'high': 'Ends of the range.'}
    """
    section = SECTION.search(docstring)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section["body"].split("\n") if section else ():
        if line[:1].strip():
            names = [name.strip() for name in line.split(" : ")[0].split(",")]
            found |= dict.fromkeys(names, "")
        else:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


class DescribedSchema(GenerateJsonSchema):
    """Describes every property with the text of its attribute in the docstring of the record, or of one it extends."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """Return the schema of a record: its description without the attributes, its properties with theirs."""
        found = super().model_schema(schema)
        record: type[BaseModel] = schema["cls"]
        texts: dict[str, str] = {}
        for base in reversed(record.__mro__):
            texts |= attributes_of(inspect.cleandoc(base.__doc__ or ""))
        for name, entry in found.get("properties", {}).items():
            if texts.get(name):
                entry.setdefault("description", texts[name])
        found["description"] = SECTION.sub("", inspect.cleandoc(record.__doc__ or "")).strip()
        return found


def schemas() -> dict[str, Any]:
    """Return the schemas of `config/config.yaml`, a suite, a paper and a catalogue entry by file name."""
    records: dict[str, type[BaseModel]] = {"config": Settings, "suite": Suite, "paper": Paper, "dataset": DatasetEntry}
    return {
        f"{name}.schema.json": record.model_json_schema(schema_generator=DescribedSchema)
        for name, record in records.items()
    }


if __name__ == "__main__":
    for name, schema in schemas().items():
        write_json(FOLDER / name, schema)
