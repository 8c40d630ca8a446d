"""The examples of docs/how-to/my-network.md run as they are, and the docstrings give what they say."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from typer.testing import CliRunner

import reprood.cli.main as cli

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/my-network.md"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that the page names: weights of a network and folders of images."""
    monkeypatch.chdir(tmp_path)
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), "weights.pth")
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("test", 20), ("svhn", 10), ("textures", 10)):
        for row in range(count):
            place = Path("images", name, str(row % 10))
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place / f"{row}.png")


@pytest.mark.slow
@pytest.mark.usefixtures("files")
def test_the_page_runs():
    text = PAGE.read_text(encoding="utf-8")
    space: dict[str, object] = {}
    tables = []
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), space)
        tables.append(space["table"])
    assert tables[0]["detector"].nunique() == 5
    assert tables[0]["ood"].tolist()[:3] == ["svhn", "textures", "mean"]
    assert tables[1]["auroc"].min() > 0.8
    assert tables[2]["detector"].tolist() == ["energy", "my margin"]
    assert space["one"]["verdict"].tolist() == space["several"]["verdict"].tolist() == ["better"]
    assert space["one"]["covers"].tolist() == ["test samples, not trainings"]
    for command in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        done = CliRunner().invoke(cli.app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        assert "torchvision:resnet18, 10 classes" in done.output
    assert pd.read_csv("table.csv")["ood"].tolist() == ["svhn", "textures", "mean"] * 3


@pytest.mark.parametrize("name", ["api.metrics", "api.scoring", "api.comparison"])
def test_examples_of_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"reprood.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
