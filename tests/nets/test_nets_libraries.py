"""Backbones of torchvision and timm, with weights from a file, and a user's own network."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.engine.seeds import seeded
from reprood.nets.classifier import Classifier
from reprood.nets.registry import backbone

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "model", "arguments", "width"),
    [
        ("torchvision", "mobilenet_v3_small", {}, 1024),
        ("torchvision", "vit_b_32", {"image_size": 32}, 768),
        ("timm", "vit_tiny_patch16_224", {"img_size": 32, "depth": 2}, 192),
        ("timm", "mobilenetv3_small_050", {}, 1024),
    ],
)
def test_features_of_other_families(name, model, arguments, width):
    pytest.importorskip(name)
    with seeded(0):
        network = Classifier(backbone(name)(3, model=model, arguments=arguments), 4).eval()
    with torch.no_grad():
        features, logits = network.features(IMAGES), network(IMAGES)
    assert (features.shape, logits.shape) == ((2, width), (2, 4))
    weight, bias = network.linear_head()
    torch.testing.assert_close(logits, features @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_a_resnext_is_the_one_that_torchvision_names():
    theirs = {key: value.shape for key, value in get_model("resnext50_32x4d").state_dict().items()}
    ours = {key: value.shape for key, value in backbone("resnext")(3, depth=50).network.state_dict().items()}
    assert ours == {key: shape for key, shape in theirs.items() if not key.startswith("fc.")}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_from_a_file_give_the_features_of_their_network(tmp_path, suffix):
    with seeded(3):
        theirs = get_model("resnet18", weights=None, num_classes=7).eval()
    file = tmp_path / f"weights.{suffix}"
    state = {key: value.contiguous() for key, value in theirs.state_dict().items()}
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    weights = {"file": str(file), "sha256": sha256_file(file)}
    ours = backbone("torchvision")(3, model="resnet18", weights=weights).eval()
    theirs.fc = torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(ours(IMAGES), theirs(IMAGES))

    with pytest.raises(ReproodError, match="has the SHA-256 .*, and the suite expects 0000"):
        backbone("torchvision")(3, model="resnet18", weights={**weights, "sha256": "0" * 64})
    with pytest.raises(ReproodError, match="does not fit the backbone: size mismatch for conv1.weight"):
        backbone("torchvision")(1, model="resnet18", weights=weights)
    with pytest.raises(ReproodError, match=r"has no features.0.0.weight and \d+ other of the \d+ tensors"):
        backbone("torchvision")(3, model="mobilenet_v2", weights=weights)
    file.write_bytes(b"nothing")
    with pytest.raises(ReproodError, match="is no state dict"):
        backbone("torchvision")(3, model="resnet18", weights={"file": str(file), "sha256": sha256_file(file)})


def test_unknown_networks_are_refused():
    with pytest.raises(ReproodError, match="torchvision has no classification network 'resnet19'; known: alexnet"):
        backbone("torchvision")(3, model="resnet19")
    with pytest.raises(ReproodError, match="resnet18 cannot be built with {'widht': 2}"):
        backbone("torchvision")(3, model="resnet18", arguments={"widht": 2})
    pytest.importorskip("timm")
    with pytest.raises(ReproodError, match="timm has no network 'resnet19'; similar: "):
        backbone("timm")(3, model="resnet19")


def test_an_own_network_is_loaded_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat.py").write_text(
        "from torch import nn\n\n\ndef build(channels, side=32):\n    net = nn.Flatten()\n"
        "    net.width = channels * side * side\n    return net\n"
    )
    network = Classifier(backbone("./flat.py")(3), 2)
    assert network(IMAGES).shape == (2, 2)
    assert network.width == 3072
