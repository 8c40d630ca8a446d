"""A release of fabricated results, and a copy of it to be tampered with."""

import shutil

import pytest
from toy_release import build, make_checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def release(checkout, tmp_path_factory):
    return build(checkout, tmp_path_factory.mktemp("release") / "draft")


@pytest.fixture
def copy(release, tmp_path):
    """A copy to be tampered with."""
    shutil.copytree(release, tmp_path / "copy")
    return tmp_path / "copy"
