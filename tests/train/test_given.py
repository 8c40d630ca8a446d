"""A network that was trained elsewhere becomes a run: its predictions are those of the network itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reprood.core.errors import ReproodError
from reprood.core.files import read_json, sha256_file
from reprood.data.arrays import load_split, save_split
from reprood.engine.seeds import seeded
from reprood.evaluate.outputs import load_outputs
from reprood.nets.whole import builder
from reprood.predict.run import predict_run
from reprood.report.records import ModelRecord, RunRecord, checked
from reprood.train.given import take_over

SIZES = {"train": 9, "validation": 6, "test": 8, "far": 5}
NETWORK = "reprood:wrn,channels=1,depth=10,width=0.25"
GIVEN = {"network": NETWORK, "mean": [0.5], "std": [0.25]}


class Task:
    """A prepared benchmark of 16 x 16 grey images, and the weights of a network."""

    def __init__(self, root: Path, classes: int = 3, outputs: int = 3) -> None:
        self.data, self.run, self.weights = root / "data", root / "run", root / "w.pt"
        random = np.random.default_rng(0)
        for name, size in SIZES.items():
            images = random.integers(0, 256, (size, 16, 16, 1)).astype(np.uint8)
            labels = np.full(size, -1) if name == "far" else np.arange(size) % classes
            save_split(self.data / name, images, labels, {}, {"classes": [str(one) for one in range(classes)]})
        with seeded(0):
            self.network = builder(NETWORK)(outputs).eval()
        torch.save(self.network.state_dict(), self.weights)

    def take_over(self, **changes) -> None:
        external = {"weights": str(self.weights), **GIVEN, **changes}
        run = {"benchmark": "toy", "method": "mine", "seed": 0}
        take_over({**run, "external": external}, self.data, self.run, "0123")

    def predict(self):
        splits = {name: self.data / name for name in SIZES}
        predict_run(self.run, splits, self.run, requests={"features": True}, device="cpu", threads=1)
        return load_outputs(self.run, features=True).splits["test"]

    def images(self) -> torch.Tensor:
        images = torch.tensor(np.array(load_split(self.data / "test").images)).permute(0, 3, 1, 2).float()
        return (images / 255 - 0.5) / 0.25


def test_predictions_are_the_networks_and_the_record_says_that_it_was_not_trained_here(tmp_path):
    task = Task(tmp_path)
    task.take_over()
    stored = task.predict()
    with torch.no_grad():
        logits, features = task.network(task.images()), task.network.features(task.images())
    np.testing.assert_allclose(stored.logits, logits.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stored.features, features.numpy(), rtol=2e-3, atol=1e-4)  # half precision
    record = checked(task.run / "run.json", RunRecord)
    assert record["trained_here"] is False
    assert record["weights"] == {"file": str(task.weights), "sha256": sha256_file(task.weights), "unwrapped": ""}
    model = checked(task.run / "model.json", ModelRecord)
    assert model["use"] == "external"
    assert model["backbone"]["split"] == {"classes": 3, "layer": "head", "width": 16, "affine": True}
    assert model["parameters"] == sum(p.numel() for p in task.network.parameters())


def test_with_one_class_only_features_count(tmp_path):
    task = Task(tmp_path, classes=1, outputs=5)
    task.take_over()
    stored = task.predict()
    assert not stored.logits.any()
    assert stored.logits.shape == (8, 1)
    with torch.no_grad():
        features = task.network.features(task.images())
    np.testing.assert_allclose(stored.features, features.numpy(), rtol=2e-3, atol=1e-4)


def test_images_are_resized_for_the_network_and_a_layer_can_be_named(tmp_path):
    task = Task(tmp_path)
    task.take_over(input_size=32, layer="backbone")
    assert read_json(task.run / "model.json")["backbone"]["split"]["affine"] is False
    large = torch.nn.functional.interpolate(task.images(), (32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = task.network(large)
    np.testing.assert_allclose(task.predict().logits, logits.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer": "fc"}, "toy/mine/0: the network has no layer 'fc'; its top layers are backbone, head"),
        ({"network": "reprood:wrn,channels=1,depth=16,width=0.25"}, "does not fit reprood:wrn"),
        ({"network": "torchvision:resnet18"}, "w.pt has no 'fc.weight', the last layer of torchvision:resnet18"),
        ({"weights": "none.pt"}, "There is no file none.pt"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, changes, words):
    with pytest.raises(ReproodError) as caught:
        Task(tmp_path).take_over(**changes)
    assert words in str(caught.value)
    assert not (tmp_path / "run" / "model.json").exists()


def test_the_number_of_outputs_must_be_that_of_the_classes(tmp_path):
    with pytest.raises(ReproodError, match="The network has 5 outputs and the benchmark 3 classes"):
        Task(tmp_path, outputs=5).take_over()
