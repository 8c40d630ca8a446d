"""`reprood score`: networks by name, weights that do not fit, options."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import reprood.cli.main as cli
from reprood.core.errors import ReproodError
from reprood.nets import wrn
from reprood.nets.classifier import Classifier
from reprood.nets.whole import builder, load_network

OWN = """
import torch

def small(num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, num_classes))
"""


def run(*arguments):
    return CliRunner().invoke(cli.app, ["score", *map(str, arguments)])


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("test", "far"):
        (tmp_path / name).mkdir()
        for row in range(6):
            image = np.random.default_rng(row).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / name / f"{row}.png")
    (tmp_path / "own.py").write_text(OWN)
    weights = {"module.1.weight": torch.randn(7, 48), "module.1.bias": torch.randn(7)}
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "own.pt")
    return tmp_path


def test_an_own_network_with_wrapped_weights(files):
    (files / "far" / "cut.png").write_bytes(b"\x89PNG")
    done = run(
        "--weights", "own.pt", "--network", "./own.py:small", "--id", "test", "--ood", "far", "--ood", "near=test",
        "--size", 0, "--detectors", "msp,energy", "--out", "out/table.csv", "--replicates", 0,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "7 classes, weights own.pt (weights under 'state_dict', names without 'module.')" in done.stdout
    assert "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225" in done.stdout
    assert "1 of 7 images in far cannot be read and are left out; the first: far/cut.png" in done.stderr
    assert (files / "out/table.csv").read_text().startswith("detector,ood,n_id,n_ood,auroc,")
    assert len((files / "out/table.csv").read_text().splitlines()) == 1 + 2 * 3


def test_own_backbones_and_the_class_number_of_the_weights(tmp_path):
    save_file(Classifier(wrn.build(1, depth=10, width=1), 3).state_dict(), tmp_path / "w.safetensors")
    model, classes, notes = load_network("reprood:wrn,depth=10,width=1,channels=1", tmp_path / "w.safetensors")
    assert (classes, notes) == (3, "")
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(ReproodError, match=r"also has \d+ \(first: backbone\.stages\.0\.1"):
        save_file(Classifier(wrn.build(1, depth=16, width=1), 3).state_dict(), tmp_path / "w.safetensors")
        load_network("reprood:wrn,depth=10,width=1,channels=1", tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("words", "network", "weights"),
    [
        ("expected torchvision:NAME", "resnet18", "own.pt"),
        ("torchvision has no network 'resnet19'", "torchvision:resnet19", "own.pt"),
        ("has no 'fc.weight', the last layer of torchvision:resnet18", "torchvision:resnet18", "own.pt"),
        ("cannot be built", "./own.py:small,depth=2", "own.pt"),
        ("There is no file none.pt", "./own.py:small", "none.pt"),
        ("cannot be read as weights", "./own.py:small", "own.py"),
        ("defines no `large`", "./own.py:large", "own.pt"),
    ],
)
@pytest.mark.usefixtures("files")
def test_what_does_not_fit_is_one_sentence(words, network, weights):
    done = run("--weights", weights, "--network", network, "--id", "test", "--ood", "far")
    assert isinstance(done.exception, ReproodError), done.output
    assert words in str(done.exception)


def test_timm_is_optional(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ReproodError, match="needs the package timm, which is not installed"):
        builder("timm:resnet18")
