"""Fabricated results for the audit's tests."""

from pathlib import Path

import fabricate
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit")
    fabricate.results(path)
    return path


@pytest.fixture
def few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reprood.audit.evidence.REPLICATES", 200)
