"""Shared by all tests: the tests folder is importable, threads are pinned, one finished smoke suite."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A checkout with a finished smoke suite; tests leave it as they found it."""
    from checkout import Checkout

    checkout = Checkout(tmp_path_factory.mktemp("workflow") / "checkout")
    checkout.snakemake()
    return checkout
