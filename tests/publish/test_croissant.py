"""Descriptions in the form of Croissant are valid and can be read as records."""

import copy
import json
from pathlib import Path

import pytest

from reprood.data.catalogue import load_catalogue
from reprood.publish.croissant import CONTEXT, describe_entry, describe_release

mlcroissant = pytest.importorskip("mlcroissant")
CATALOGUE = load_catalogue([Path("config/datasets.yaml")], {})


def errors(description) -> list:
    return list(mlcroissant.Dataset(jsonld=description).metadata.issues.errors)


def test_the_tables_of_a_release_are_records(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/verdicts.csv").write_text("paper,exploratory,effect\ncsi,False,1.5\ndias,True,\n")
    (tmp_path / "results/metrics.csv").write_text("benchmark,seed,value\nfashion,3,0.75\n")
    text = describe_release(tmp_path, name="r-1", description="Audited results.", version="1.0", date="2026-01-31")
    (tmp_path / "croissant.json").write_text(json.dumps(text))
    dataset = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")
    assert not dataset.metadata.issues.errors
    (row,) = dataset.records("metrics_rows")
    assert row == {"metrics_rows/benchmark": b"fashion", "metrics_rows/seed": 3, "metrics_rows/value": 0.75}
    assert [row["verdicts_rows/paper"] for row in dataset.records("verdicts_rows")] == [b"csi", b"dias"]


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "mnist_5k", "blobs", "mvtec_ad"])
def test_entries_of_the_catalogue_are_valid(name):
    description, before = describe_entry(name, CATALOGUE[name]), copy.deepcopy(CONTEXT)
    assert errors(description) == []
    assert before == CONTEXT  # mlcroissant adds "@base" to the context that it reads
    assert (
        len(description["distribution"]) + description["description"].count("Without address") >= 1 or name == "blobs"
    )
