"""The examples in docstrings are correct."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["distributed", "optimizers", "outliers", "schedules"])
def test_examples(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"reprood.engine.{module}"))
    assert results.attempted > 0
    assert results.failed == 0
