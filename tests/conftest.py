"""Shared by all tests: threads are pinned, one finished smoke suite."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A checkout with a finished smoke suite; tests leave it as they found it."""
    from checkout import Checkout

    checkout = Checkout(tmp_path_factory.mktemp("workflow") / "checkout")
    checkout.snakemake()
    return checkout
