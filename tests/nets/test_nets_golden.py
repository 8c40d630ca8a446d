"""PyramidNet and Wide ResNet against arrays made by the authors' code, with their stored weights."""

import os
import re

import golden_files
import numpy as np
import pytest
import torch

from reprood.nets import pyramidnet, wrn
from reprood.nets.classifier import Classifier

pytestmark = pytest.mark.golden


def test_pyramidnet_plan() -> None:
    arrays = golden_files.load("cutmix", "pyramidnet_plan")
    for case in range(int(arrays["n_cases"])):
        expected = {
            key.removeprefix(f"c{case}_"): value for key, value in arrays.items() if key.startswith(f"c{case}_")
        }
        options = {
            "depth": int(expected["depth"]),
            "widening": float(expected["alpha"]),
            "block": "bottleneck" if expected["bottleneck"] else "basic",
        }
        assert pyramidnet.PyramidNetOptions(**options).plan() == [
            (int(inputs), int(width)) for inputs, width in expected["block_in_planes"]
        ]
        with torch.device("meta"):
            model = Classifier(pyramidnet.build(3, **options), int(expected["num_classes"]))
        assert model.width == int(expected["final_dim"])
        assert sum(parameter.numel() for parameter in model.parameters()) == int(expected["n_params"])


def pyramidnet_name(name: str, per_stage: int) -> str:
    """`layer2.0.bn3.weight` -> `backbone.blocks.<n>.norms.2.weight` and so on."""
    fixed = {"conv1": "backbone.stem", "bn1": "backbone.stem_norm", "bn_final": "backbone.norm", "fc": "head"}
    module, _, tensor = name.rpartition(".")
    if module in fixed:
        return f"{fixed[module]}.{tensor}"
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(bn|conv)(\d)", module)
    assert found, name
    stage, block, kind, number = int(found[1]), int(found[2]), found[3], int(found[4])
    kinds = {"bn": "norms", "conv": "convolutions"}
    return f"backbone.blocks.{(stage - 1) * per_stage + block}.{kinds[kind]}.{number - 1}.{tensor}"


def test_pyramidnet_forward() -> None:
    arrays = golden_files.load("cutmix", "pyramidnet_forward")
    bottleneck, depth = bool(arrays["bottleneck"]), int(arrays["depth"])
    model = Classifier(
        pyramidnet.build(
            arrays["x"].shape[1],
            depth=depth,
            widening=float(arrays["alpha"]),
            block="bottleneck" if bottleneck else "basic",
        ),
        int(arrays["num_classes"]),
    )
    per_stage = (depth - 2) // (9 if bottleneck else 6)
    weights = {
        pyramidnet_name(key.removeprefix("p/"), per_stage): array
        for key, array in arrays.items()
        if key.startswith("p/")
    }
    load_all(model, weights)
    images = torch.from_numpy(arrays["x"])
    with torch.no_grad():
        evaluated, trained = model.eval()(images), model.train()(images)
    np.testing.assert_allclose(evaluated, arrays["logits_eval"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trained, arrays["logits_train"], rtol=1e-4, atol=1e-4)


def wrn_name(name: str) -> str:
    """`block2.layer.0.convShortcut.weight` -> `backbone.stages.1.0.shortcut.weight` and so on."""
    fixed = {"conv1": "backbone.stem", "bn1": "backbone.norm", "fc": "head"}
    module, _, tensor = name.rpartition(".")
    if module in fixed:
        return f"{fixed[module]}.{tensor}"
    found = re.fullmatch(r"block(\d)\.layer\.(\d+)\.(\w+)", module)
    assert found, name
    part = found[3].replace("bn", "norm").replace("convShortcut", "shortcut")
    return f"backbone.stages.{int(found[1]) - 1}.{found[2]}.{part}.{tensor}"


def test_wide_resnet_forward() -> None:
    folder = golden_files.golden_folder()
    if golden_files.GOLDEN_DIR in os.environ and not (folder / "hood" / "wrn_forward.npz").exists():
        pytest.skip(f"{folder} has no hood/wrn_forward.npz")
    arrays = golden_files.load("hood", "wrn_forward")
    model = Classifier(
        wrn.build(arrays["x"].shape[1], depth=int(arrays["depth"]), width=int(arrays["widen"])),
        len(arrays["w:fc.bias"]),
    )
    load_all(model, {wrn_name(key[2:]): array for key, array in arrays.items() if key.startswith("w:")})
    images = torch.from_numpy(arrays["x"])
    with torch.no_grad():
        for mode in ("eval", "train_nodrop"):
            model.train(mode == "train_nodrop")
            np.testing.assert_allclose(model(images), arrays[f"logits_{mode}"], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(model.features(images), arrays[f"feat_{mode}"], rtol=1e-4, atol=1e-5)


def load_all(model: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Every stored array has its place, and every tensor but the counters of batches gets one."""
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
