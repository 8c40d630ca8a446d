"""Load a file of weights into a backbone; the file's SHA-256 in the suite makes it part of every fingerprint."""

import pickle
from pathlib import Path

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.core.files import sha256_file
from reprood.nets.options import Options


class Weights(Options):
    """A file of weights.

    Attributes
    ----------
    file : Path
        A state dict, `.safetensors` or `torch.save`, relative to the working directory.
    sha256 : str
        Checksum of the file.
    """

    file: Path
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


def load_weights(network: nn.Module, weights: Weights) -> None:
    """Load a state dict into a network without a classifier; weights of the classifier are left out.

    Raises
    ------
    ReproodError
        When the file is missing, has another checksum, is no state dict, or does not fit the network.
    """
    path = weights.file
    if not path.is_file():
        raise ReproodError(f"There is no file of weights {path}; correct weights.file of the backbone.")
    found = sha256_file(path)
    if found != weights.sha256:
        raise ReproodError(
            f"{path} has the SHA-256 {found}, and the suite expects {weights.sha256}; put the right file there or "
            "correct weights.sha256 of the backbone."
        )
    state = _read(path)
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        raise ReproodError(
            f"{path} has no {missing[0]} and {len(missing) - 1} other of the {len(wanted)} tensors of the backbone; it "
            "belongs to another network."
        )
    try:
        network.load_state_dict({name: state[name] for name in wanted})
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n")[1:2]).strip()
        raise ReproodError(f"{path} does not fit the backbone: {reason}") from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ReproodError(f"{path} is no state dict ({str(error).splitlines()[0]}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ReproodError(f"{path} is no state dict: expected a mapping of names to tensors.")
    return state
