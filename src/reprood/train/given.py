"""Take over a network that was trained elsewhere, in the form of the train stage: `use: external` with `weights`.

The weights of a whole network (torchvision, timm, a backbone of the package with a linear classifier, or a function of
the user's) become the model of a run, which the predict stage then runs like any other. The record of the run states
that nothing was trained here, and the checksum of the file.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as serialised
from torch import Tensor, nn

from reprood.config.external import EXTERNAL, External
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, sha256_file, write_json
from reprood.data.arrays import load_split
from reprood.images.augment import normalise
from reprood.methods.external import Config, build
from reprood.nets.given import NETWORK, GivenNetwork, Split
from reprood.nets.whole import load_network

HISTORY = "phase,epoch,lr,train_loss\n"  # nothing was trained here
NOT_HERE, NOT_STATED = "not trained here", "not stated"
SHOWN = 2  # images that the network is tried on


def take_over(settings: Mapping[str, Any], data: Path, out: Path, code: str = "") -> None:
    """Write model.safetensors, model.json, history.csv and run.json of a network that was trained elsewhere.

    Parameters
    ----------
    settings : mapping
        `benchmark`, `method`, `seed`; `external` (`reprood.config.external.External`, with the file of this run).
    data : Path
        Folder of the benchmark's splits.
    out : Path
        Folder of the run.
    code : str
        Fingerprint of the code, to be recorded.

    Raises
    ------
    ReproodError
        When the weights do not fit the network, or the network not the benchmark.
    """
    external = External.model_validate(settings["external"])
    path = Path(external.weights)
    name = "/".join(str(settings[key]) for key in ("benchmark", "method", "seed"))
    network, outputs, unwrapped = load_network(external.network, path)
    train = load_split(data / "train")
    class_names = train.meta.get("classes") or []
    classes = len(class_names) or int(train.labels.max()) + 1
    channels, size = train.images.shape[3], train.images.shape[1]
    mean, std = (tuple(values) * (channels if len(values) == 1 else 1) for values in (external.mean, external.std))
    shown = torch.from_numpy(np.array(np.moveaxis(train.images[:SHOWN], 3, 1), order="C"))
    split = split_of(network.eval(), normalise(shown, mean, std), external, outputs, name)
    model = build(Config(), GivenNetwork(network, split, external.input_size), classes)
    run = {key: settings[key] for key in ("benchmark", "method", "seed")}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    wrong = next((key for key, value in tensors.items() if not bool(torch.isfinite(value).all())), None)
    if wrong is not None:
        raise ReproodError(f"{path}: {wrong} holds NaN or infinite numbers; give the weights of a finished training.")
    with atomic_path(out / "model.safetensors") as temporary:
        temporary.write_bytes(serialised(tensors))
    described = {
        **run,
        "use": EXTERNAL,
        "backbone": {
            "name": NETWORK,
            "network": external.network,
            "split": split.model_dump(),
            "input_size": external.input_size,
        },
        "settings": {},
        "channels": channels,
        "size": size,
        "classes": classes,
        "class_names": class_names,
        "mean": mean,
        "std": std,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    record = {
        "trained_here": False,
        "weights": {"file": external.weights, "sha256": sha256_file(path), "unwrapped": unwrapped},
        "versions": {package: version(package) for package in ("numpy", "torch", "safetensors")},
        "device": NOT_HERE,
        "machine": {"processor": NOT_STATED, "cores": 0, "system": NOT_STATED},
        "threads": 0,
        "processes": 0,
        "precision": "fp32",  # of the predictions
        "data": {part: load_split(data / part).meta["content"] for part in ("train", "validation", "test")},
        "code": code,
        "model": sha256_file(out / "model.safetensors"),
        "phases": [],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_path(out / "history.csv") as temporary:
        temporary.write_text(HISTORY, encoding="utf-8")
    write_json(out / "model.json", described)
    write_json(out / "run.json", record)


def _note(ran: list[tuple[str, Any]], name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    """Keep the output of a layer; a forward hook."""
    ran.append((name, output))


@torch.no_grad()
def split_of(network: nn.Module, images: Tensor, external: External, outputs: int, name: str) -> Split:
    """Return the layer of a network's features, found by running it on a few images.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    images : Tensor [B, C, H, W]
        Normalised.
    external : External
        With `layer` and `input_size`.
    outputs : int
        Number of the network's outputs.
    name : str
        Of the run, for messages.

    Raises
    ------
    ReproodError
        When the network does not take the images, gives no logits, or has no such layer.
    """
    modules = dict(network.named_modules())
    if external.layer and external.layer not in modules:
        top = ", ".join(key for key, _ in network.named_children())
        raise ReproodError(f"{name}: the network has no layer '{external.layer}'; its top layers are {top}.")
    ran: list[tuple[str, Any]] = []
    handles = [
        module.register_forward_hook(partial(_note, ran, key))
        for key, module in modules.items()
        if (key == external.layer if external.layer else isinstance(module, nn.Linear))
    ]
    whole = GivenNetwork(network, Split(classes=outputs, layer="", width=1, affine=False), external.input_size)
    try:
        logits = whole.logits(images)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReproodError(
            f"{name}: {external.network} cannot take images of shape {tuple(images.shape[1:])} ({reason}); set "
            "input_size, or prepare the benchmark as the network expects."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, Tensor) or logits.shape != (len(images), outputs):
        raise ReproodError(f"{name}: {external.network} does not give logits [images, {outputs}].")
    if not ran:
        raise ReproodError(f"{name}: no linear layer of {external.network} runs; set 'layer' to that of the features.")
    layer, output = ran[-1]
    affine = isinstance(modules[layer], nn.Linear) and isinstance(output, Tensor) and torch.equal(output, logits)
    probe = GivenNetwork(network, Split(classes=outputs, layer=layer, width=1, affine=affine), external.input_size)
    features = probe(images)
    if features.ndim != 2 or len(features) != len(images):
        raise ReproodError(f"{name}: the layer '{layer}' gives no features [images, d]; set 'layer' to another.")
    return Split(classes=outputs, layer=layer, width=features.shape[1], affine=affine)
