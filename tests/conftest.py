"""Options, selection and fixtures shared by all tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import Checkout
from filelock import FileLock
from selection import order_by_cost, sample

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    group = parser.getgroup("reprood")
    group.addoption("--full", action="store_true", help="run every hostile-input and chaos case, not a tenth of them")
    group.addoption("--built", type=Path, metavar="FOLDER", help="a clone of this revision with a finished smoke suite")
    group.addoption("--kills", type=int, help="number of random kills; by default 100 with --full, else 3")
    group.addoption("--seed", type=int, default=0, help="seed of random kills and damages")
    group.addoption("--fuzz", type=int, metavar="N", help="new random examples per fuzz test instead of 20 fixed ones")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full"):
        kept, left_out = sample(items)
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = kept
    items[:] = order_by_cost(items)


@pytest.fixture(scope="session")
def built(tmp_path_factory, worker, request):
    """Return a checkout with a finished smoke suite; tests leave it as they found it.

    It is built once; the workers of pytest-xdist use copies.
    """
    own = tmp_path_factory.mktemp("workflow") / "checkout"
    shared = request.config.getoption("--built")
    if worker == "master" and shared is None:
        checkout = Checkout(own)
        checkout.snakemake()
        return checkout
    if shared is None:
        shared = tmp_path_factory.getbasetemp().parent / "built"
        with FileLock(f"{shared}.lock"):
            if not (shared / ".finished").exists():
                shutil.rmtree(shared, ignore_errors=True)  # left by a worker that crashed
                Checkout(shared).snakemake()
                (shared / ".finished").touch()
    subprocess.run(["cp", "-a", str(shared), str(own)], check=True)
    return Checkout(own, fill=False)


@pytest.fixture(scope="session")
def worker(request):
    """Return the name of the pytest-xdist worker, or "master" without xdist."""
    return getattr(request.config, "workerinput", {}).get("workerid", "master")
