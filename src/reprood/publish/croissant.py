"""Croissant descriptions (https://docs.mlcommons.org/croissant, version 1.0) of releases and of catalogue entries."""

import copy
from pathlib import Path
from typing import Any

import pandas as pd

from reprood.core.files import sha256_file
from reprood.data.entries import DatasetEntry

CROISSANT = "croissant.json"
_TERMS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {  # that of the specification
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
VERSION = "http://mlcommons.org/croissant/1.0"
APACHE = "https://spdx.org/licenses/Apache-2.0"
TABLES = {"verdicts": "The verdict on every claim.", "metrics": "Every metric of every run."}
FORMATS = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}  # of a table, the first that exists
TYPES = {"b": "sc:Boolean", "i": "sc:Integer", "f": "sc:Float"}  # by numpy's kinds; others are texts


def describe_release(folder: Path, *, name: str, description: str, version: str, date: str) -> dict[str, Any]:
    """Return the description of a release: its tables of verdicts and metrics, with their columns.

    Parameters
    ----------
    folder : Path
        The release.
    name, description, version, date : str
        Of the release; the date as YYYY-MM-DD.
    """
    forms = {table: [f"results/{table}{ending}" for ending in FORMATS] for table in TABLES}
    tables = {table: next(path for path in paths if (folder / path).is_file()) for table, paths in forms.items()}
    return {
        **_head(name, description, APACHE),
        "version": version,
        "datePublished": date,
        "creator": {"@type": "sc:Organization", "name": "The reprood authors"},
        "citeAs": f"The reprood authors. {name}. {date[:4]}.",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": table,
                "name": path,
                "contentUrl": path,
                "encodingFormat": FORMATS[Path(path).suffix],
                "contentSize": f"{(folder / path).stat().st_size} B",
                "sha256": sha256_file(folder / path),
            }
            for table, path in tables.items()
        ],
        "recordSet": [_records(table, folder / path) for table, path in tables.items()],
    }


def describe_entry(name: str, entry: DatasetEntry) -> dict[str, Any]:
    """Return the description of a data set of the catalogue: its files with addresses and checksums.

    Files without a URL (of packages, of the user, generated) or without a checksum, which Croissant requires, are
    named in the description only.
    """
    urls = {file: record for file, record in entry.files.items() if record.urls and (record.sha256 or record.md5)}
    rest = [file for file in entry.files if file not in urls]
    note = " ".join(
        [
            entry.note,
            f"Splits: {', '.join(entry.splits)}.",
            *([f"Without address or checksum: {', '.join(rest)}."] if rest else []),
        ]
    )
    distribution = []
    for file, record in urls.items():
        checksum = {"sha256": record.sha256} if record.sha256 else {"md5": record.md5}
        distribution.append(
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": record.urls[0],
                "encodingFormat": "application/octet-stream",
                **({"contentSize": f"{record.size} B"} if record.size else {}),
                **checksum,
            }
        )
    return {
        **_head(entry.title, note.strip(), entry.licence),
        "alternateName": name,
        **({"url": entry.homepage} if entry.homepage else {}),
        **({"citeAs": entry.citation} if entry.citation else {}),
        "distribution": distribution,
    }


def _head(name: str, description: str, licence: str) -> dict[str, Any]:
    return {
        "@context": copy.deepcopy(CONTEXT),  # readers add to it
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": name,
        "description": description,
        "license": licence,
    }


def _records(table: str, path: Path) -> dict[str, Any]:
    columns = pd.read_csv(path, nrows=200) if path.suffix == ".csv" else pd.read_parquet(path)
    return {
        "@type": "cr:RecordSet",
        "@id": f"{table}_rows",
        "name": f"{table}_rows",
        "description": TABLES[table],
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{table}_rows/{column}",
                "name": f"{table}_rows/{column}",
                "dataType": TYPES.get(columns[column].dtype.kind, "sc:Text"),
                "source": {"fileObject": {"@id": table}, "extract": {"column": column}},
            }
            for column in columns
        ],
    }
