"""The wide residual network of ReSmooth's code: one block's reference values, the number of parameters, options."""

import numpy as np
import pytest
import torch
from golden_files import load

from reprood.core.errors import ReproodError
from reprood.nets import wide
from reprood.nets.classifier import Classifier


@pytest.mark.golden
def test_block_reference() -> None:
    arrays = load("resmooth", "wide_block")
    names = {"bn1": "norm1", "bn2": "norm2", "conv1": "conv1", "conv2": "conv2", "shortcut.0": "shortcut"}
    for case in range(int(arrays["n_cases"])):
        prefix = f"c{case}_p/"
        weights = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        outputs, inputs = weights["conv1.weight"].shape[:2]
        block = wide.Block(inputs, outputs, int(arrays[f"c{case}_stride"].item()), 0.0)
        state = {}
        for name, value in weights.items():
            module, tensor = name.rsplit(".", 1)
            state[f"{names[module]}.{tensor}"] = torch.from_numpy(value)
        missing, unexpected = block.load_state_dict(state, strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
        images = torch.from_numpy(arrays[f"c{case}_x"])
        with torch.no_grad():
            evaluated, trained = block.eval()(images.clone()), block.train()(images.clone())
        np.testing.assert_allclose(evaluated, arrays[f"c{case}_out_eval"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(trained, arrays[f"c{case}_out_train"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("classes", "parameters"), [(10, 36_489_290), (100, 36_546_980)])
def test_parameters_of_wrn_28_10(classes, parameters) -> None:
    with torch.device("meta"):
        model = Classifier(wide.build(3), classes)
    assert model.width == 640
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 64)])
def test_forward_and_gradient(channels, size) -> None:
    network = wide.build(channels, depth=10, width=0.5, dropout=0.1)
    images = torch.randn(3, channels, size, size)
    before = images.clone()
    features = network(images)
    assert features.shape == (3, network.width) == (3, 32)
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("options", "message"), [({"depth": 27}, "6n"), ({"dropout": 1.0}, "dropout"), ({"stem_stride": 2}, "stem_stride")]
)
def test_bad_options(options, message) -> None:
    with pytest.raises(ReproodError, match=message):
        wide.build(3, **options)
