"""A whole network from its name and a file of weights."""

import inspect
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.core.registry import is_path, load
from reprood.nets.classifier import Classifier
from reprood.nets.registry import backbone

FORM = "torchvision:NAME, timm:NAME, reprood:NAME or ./file.py:FUNCTION, optionally with options as NAME,depth=16"
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints hold the weights
Builder = Callable[[int], nn.Module]


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the state dict of a file, and what was unwrapped in words ("" if nothing).

    Nothing that is loaded can execute code. A checkpoint may hold the weights under `state_dict`, `model_state_dict` or
    `model`, and their names may begin with `module.` (DataParallel).

    Raises
    ------
    ReproodError
        When the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise ReproodError(f"There is no file {path}; weights are a state dict as .safetensors, .pt or .pth.")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ReproodError(
            f"{path} cannot be read as weights ({' '.join(str(error).split())[:150]}); save model.state_dict() alone."
        ) from error
    notes = []
    key = next((key for key in WRAPPERS if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)), None)
    if key is not None:
        state = state[key]
        notes.append(f"weights under '{key}'")
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ReproodError(f"{path} holds no state dict (name -> tensor); save model.state_dict() alone.")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
        notes.append("names without 'module.'")
    return dict(state), ", ".join(notes)


def builder(network: str) -> Builder:
    """Return a function from the number of classes to an untrained network.

    Raises
    ------
    ReproodError
        When the name or an option is wrong, or timm is not installed.
    """
    text, *pairs = network.split(",")
    kind, colon, name = text.rpartition(":")
    if not colon or not name or not all("=" in pair for pair in pairs):
        raise ReproodError(f"The network is '{network}'; expected {FORM}.")
    options = {key.strip(): yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in pairs)}
    if is_path(kind):
        function = load("nets", kind, name)
        counted = "num_classes" in inspect.signature(function).parameters
        return lambda classes: _built(network, function, {"num_classes": classes} if counted else {}, options)
    if kind == "reprood":
        channels, build = options.pop("channels", 3), backbone(name)
        return lambda classes: Classifier(_built(network, build, {"channels": channels}, options), classes)
    if kind not in ("torchvision", "timm"):
        raise ReproodError(f"The network is '{network}'; expected {FORM}.")
    try:
        make, known = _library(kind)
    except ImportError as error:
        raise ReproodError(f"The network {network} needs the package {kind}, which is not installed.") from error
    if name.partition(".")[0] not in known:
        module = "torchvision.models" if kind == "torchvision" else kind
        raise ReproodError(f"{kind} has no network '{name}'; list them with {module}.list_models().")
    return lambda classes: _built(network, make, {"num_classes": classes}, options, name)


def _library(kind: str) -> tuple[Callable[..., Any], list[str]]:
    """Return the function of torchvision or timm that creates a network, and the names that it knows."""
    if kind == "torchvision":
        from torchvision.models import get_model, list_models

        return get_model, list_models()
    import timm

    return timm.create_model, timm.list_models()


def _built(
    network: str, make: Callable[..., Any], given: Mapping[str, Any], options: Mapping[str, Any], *names: str
) -> Any:
    try:
        model = make(*names, **given, **options)
    except (TypeError, ValueError) as error:
        raise ReproodError(f"The network {network} cannot be built: {error}; correct its options.") from error
    if not isinstance(model, nn.Module):
        raise ReproodError(f"The network {network} gives a {type(model).__name__}; expected a torch.nn.Module.")
    return model


def load_network(network: str, weights: Path) -> tuple[nn.Module, int, str]:
    """Build a network with as many classes as its weights have, and load them.

    Returns
    -------
    nn.Module, int, str
        The network, the number of classes, and what was unwrapped in words.

    Raises
    ------
    ReproodError
        When names or shapes of the weights do not fit; one sentence that names the first of them.
    """
    build = builder(network)
    state, notes = read_weights(weights)
    last = [name for name, module in build(2).named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]
    key = f"{last[0]}.weight" if last else ""
    if key not in state:
        raise ReproodError(
            f"{weights} has no '{key}', the last layer of {network}, but {', '.join(list(state)[-3:])}; check its name."
        )
    classes = len(state[key])
    model = build(classes)
    own = model.state_dict()
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    faults = {
        "does not have": [name for name in own if name not in state],
        "also has": [name for name in state if name not in own],
        "has another shape of": shapes,
    }
    found = [f"{what} {len(names)} (first: {names[0]})" for what, names in faults.items() if names]
    if found:
        raise ReproodError(
            f"{weights} does not fit {network} with {classes} classes: of the network's weights it "
            f"{'; it '.join(found)}; check the name of the network and its options."
        )
    model.load_state_dict(state)
    return model, classes, notes
