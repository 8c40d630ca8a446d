"""`reprood.score` on networks, folders and stored outputs: values, pairing, hooks, and one sentence for bad input."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reprood
from reprood.core.errors import ReproodError
from reprood.detectors import registry
from reprood.evaluate.metrics import METRICS
from reprood.images.augment import normalise

CLASSES = 4


class Network(nn.Module):
    """Convolution, dropout and two linear layers; the features are those before the second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(6, 8)
        self.head = nn.Linear(8, CLASSES)
        self.forwards = 0

    def features(self, images):
        pooled = torch.relu(self.conv(images)).mean((2, 3))
        return torch.relu(self.hidden(self.dropout(pooled)))

    def forward(self, images):
        self.forwards += 1
        return self.head(self.features(images))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def folder(path, images) -> str:
    """Write images as PNG files, in the sub-folders of four classes."""
    for row, image in enumerate(images):
        place = path / f"class{row * CLASSES // len(images)}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{row:03d}.png")
    return str(path)


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NORMAL = {"mean": MEAN, "std": STD}


def test_every_source_gives_the_same_table_and_the_values_of_the_network(network, tmp_path):
    first, second = pictures(24, 0), pictures(20, 1)
    ready = [normalise(images, MEAN, STD) for images in (first, second)]
    with torch.no_grad():
        logits = [network.eval()(images).numpy() for images in ready]
    network.train()
    expected = reprood.score(id=logits[0], ood={"far": logits[1]}, detectors=["msp", "energy"])
    confidence = [np.exp(x).max(1) / np.exp(x).sum(1) for x in logits]
    assert expected["auroc"][0] == pytest.approx(np.mean(confidence[0][:, None] > confidence[1]), abs=1e-9)
    np.savez(tmp_path / "far.npz", logits=logits[1])
    pd.DataFrame({"logits": list(logits[0]), "label": 0}).drop(columns="label").to_parquet(tmp_path / "id.parquet")
    sources = {
        "stored": (tmp_path / "id.parquet", tmp_path / "far.npz", {}),
        "floats": (*ready, {}),
        "uint8, channels first": (first, second, NORMAL),
        "uint8, channels last": (*(x.permute(0, 2, 3, 1).numpy() for x in (first, second)), NORMAL),
        "folders": (folder(tmp_path / "id", first), folder(tmp_path / "far", second), NORMAL),
        "datasets": (*(TensorDataset(x) for x in ready), {}),
        "loaders": (*(DataLoader(TensorDataset(x, torch.zeros(len(x))), 7) for x in ready), {}),
    }
    for name, (inside, outside, more) in sources.items():
        found = reprood.score(
            network, id=inside, ood={"far": outside}, detectors=["msp", "energy"], batch_size=9, **more
        )
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5, obj=name)


def test_all_detectors_from_one_pass_and_the_network_is_left_as_it_was(network):
    network.train()
    network.hidden.eval()
    modes = [module.training for module in network.modules()]
    train = (pictures(60, 3), torch.arange(60) % CLASSES)
    names = [name for name in registry.names() if name != "mahalanobis_step"]  # needs a suite
    options = {name: {"k": 5} if name == "knn" else {} for name in names}
    table = reprood.score(
        network, id=pictures(24, 0), ood={"a": pictures(20, 1), "b": pictures(16, 2)}, train=train,
        detectors=options, batch_size=20, **NORMAL,
    )  # fmt: skip
    batches = 2 + 1 + 1
    assert network.forwards == 3 + 3 * batches, "train once; test sets once and, for odin, twice more"
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert list(table["ood"]) == ["a", "b", "mean"] * len(options)
    assert set(METRICS) | {f"{name}_low" for name in METRICS} | {f"{name}_high" for name in METRICS} <= set(table)
    assert table.attrs["layer"] == "head"
    assert table["n_ood"][:3].tolist() == [20, 16, 36]
    rows = table.set_index(["detector", "ood"])
    for name in options:
        assert rows.loc[(name, "mean"), "auroc"] == pytest.approx(rows.loc[name].loc[["a", "b"], "auroc"].mean())


def test_features_and_head_are_those_of_the_network(network):
    network.eval()
    images = {name: normalise(pictures(30, seed), MEAN, STD) for seed, name in enumerate(("id", "far", "train"))}
    labels = np.arange(30) % CLASSES
    with torch.no_grad():
        stored = {
            name: {"logits": network(x).numpy(), "features": network.features(x).numpy()} for name, x in images.items()
        }
    head = (network.head.weight, network.head.bias)
    detectors = {"mahalanobis": {}, "knn": {"k": 3}, "vim": {}, "react": {}}
    by_hand = reprood.score(
        id=stored["id"], ood={"far": stored["far"]}, train={**stored["train"], "labels": labels}, detectors=detectors,
        head=head,
    )  # fmt: skip
    found = reprood.score(
        network, id=images["id"], ood={"far": images["far"]}, train=(images["train"], labels), detectors=detectors
    )
    pd.testing.assert_frame_equal(found, by_hand, rtol=1e-4)
    named = reprood.score(
        network, id=images["id"], ood={"far": images["far"]}, detectors=[of_maps], layer="conv", replicates=0
    )
    assert named.attrs["layer"] == "conv"
    assert "auroc_low" not in named


def of_maps(features):
    assert features.shape[1] == 6, "maps are averaged over positions"
    return features.sum(1)


def test_equal_seeds_draw_the_same_samples_for_all_detectors():
    rng = np.random.default_rng(0)
    sets = {"id": 2 * rng.normal(size=(50, 3)), "ood": {"far": rng.normal(size=(40, 3))}}
    both = reprood.score(**sets, detectors={"msp": {}, "again": lambda logits: own_msp(logits)})
    pd.testing.assert_series_equal(*(both.drop(columns="detector").loc[row] for row in (0, 1)), check_names=False)
    other = reprood.score(**sets, seed=1)
    assert other["auroc"][0] == both["auroc"][0]
    assert other["auroc_low"][0] != both["auroc_low"][0]


def own_msp(logits):
    from reprood.detectors.msp import msp

    return msp(logits)


def test_files_left_out_are_reported_with_number_and_first_example(network, tmp_path):
    source = folder(tmp_path / "id", pictures(8, 0))
    (tmp_path / "id" / "class0" / "broken.png").write_bytes(b"no image")
    (tmp_path / "id" / "notes.txt").write_text("x")
    with pytest.warns(UserWarning, match="left out") as caught:
        table = reprood.score(network, id=source, ood={"far": pictures(8, 1)}, replicates=0)
    assert table["n_id"][0] == 8
    first, second = (str(one.message) for one in caught)
    assert first.startswith("id: 1 of 10 files in")
    assert first.endswith("the first is notes.txt.")
    assert second.startswith("id: 1 of 9 images in")
    assert "the first: " + str(tmp_path / "id/class0/broken.png") in second


LOGITS = np.zeros((3, 2)) + np.arange(3)[:, None]
CASES = {
    "ood must be a mapping": {"ood": [LOGITS]},
    "There is no detector 'mps'": {"detectors": ["mps"]},
    "detectors.knn.m": {"detectors": {"knn": {"m": 1}}},
    "The detector odin needs logits of perturbed images": {"detectors": ["odin"]},
    "The detector knn needs penultimate features": {"detectors": ["knn"], "train": LOGITS},
    "The detector mine takes (x)": {"detectors": {"mine": lambda x: x}},
    "different numbers of classes": {"id": np.zeros((3, 5))},
    "id holds a; expected logits": {"id": {"a": LOGITS}},
    "id: logits are not finite": {"id": LOGITS * np.nan},
    "id holds no stored outputs": {"id": "images"},
    "replicates is 1": {"replicates": 1},
    "The score mine of id has shape (1,)": {"detectors": {"mine": lambda logits: [0.0]}},
}


@pytest.mark.parametrize("words", CASES)
def test_bad_input_is_one_sentence(words):
    with pytest.raises(ReproodError) as error:
        reprood.score(**{"id": LOGITS, "ood": {"far": LOGITS}, **CASES[words]})
    assert words in str(error.value)


def test_bad_input_of_a_network_is_one_sentence(network):
    images = pictures(6, 0)
    cases = {
        "shuffles": {"id": DataLoader(TensorDataset(images), shuffle=True)},
        "no layer 'body'": {"layer": "body", "detectors": ["knn"], "train": images},
        "needs labels of the training samples": {"detectors": ["mahalanobis"], "train": images},
        "score the network in a suite": {"detectors": ["mahalanobis_step"], "train": images},
        "needs in-distribution samples that are not tested": {"detectors": ["react"]},
        "expected [N, C, H, W] or [N, H, W, C]": {"id": images[:, :2]},
        "is not a folder": {"id": "nowhere"},
        "cannot take inputs (6, 1, 8, 8)": {"id": images[:, :1]},
        "device is 'tpu9'": {"device": "tpu9"},
    }
    for words, more in cases.items():
        with pytest.raises(ReproodError) as error:
            reprood.score(network, **{"id": images, "ood": {"far": images}, **more})
        assert words in str(error.value)
    assert network.training


def test_stored_outputs_and_metrics_need_no_torch():
    code = (
        "import sys, numpy as np, reprood\n"
        "assert reprood.metrics.auroc([1, 2], [0]) == 1\n"
        "reprood.score(id=np.eye(3), ood={'far': np.eye(3) / 2}, detectors=['msp', 'knn'][:1], replicates=0)\n"
        "assert not {'torch', 'snakemake'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
