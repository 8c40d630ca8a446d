"""One forward pass over a set: logits, penultimate features by hooks, and the passes that detectors request."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from reprood.api.sources import FORMATS, Loaded, Reading, Source
from reprood.core.errors import ReproodError
from reprood.data.archives import is_image, plain_files
from reprood.data.bounds import whole_numbers
from reprood.data.prepare import decode, to_array
from reprood.detectors.record import Floats, Outputs
from reprood.images.augment import normalise
from reprood.predict.passes import run_passes

Batch = tuple[Tensor, Tensor | None]


class FolderImages(Dataset[tuple[Any, int, str]]):
    """The images below a folder, sorted by path: (uint8 [H, W, C] or transformed image, label, why it is unreadable).

    Labels are the sorted sub-folders, as in torchvision's ImageFolder, or -1 if an image is in none.
    """

    def __init__(self, folder: Path, reading: Reading) -> None:
        files = list(plain_files(folder))
        names = [path.relative_to(folder).as_posix() for path in files]
        self.paths = [path for path, name in zip(files, names, strict=True) if is_image(name)]
        self.left_out = [name for name in names if not is_image(name)]
        parents = [path.relative_to(folder).parts[0] for path in self.paths]
        classes = sorted(set(parents))
        inside = all(path.parent != folder for path in self.paths)
        self.labels = [classes.index(name) if inside else -1 for name in parents]
        self.reading = reading

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Any, int, str]:
        path, reading = self.paths[row], self.reading
        try:
            image = decode(path.read_bytes(), str(path))
        except ReproodError as error:
            return None, -1, str(error)
        if reading.transform is not None:
            return reading.transform(image.convert("RGB" if reading.channels == 3 else "L")), self.labels[row], ""
        return np.array(to_array(image, reading.channels, reading.size)), self.labels[row], ""


def _folder_batches(folder: Path, what: str, reading: Reading) -> Iterator[Batch]:
    """Yield the readable images of a folder; warn about what was left out."""
    if not folder.is_dir():
        raise ReproodError(f"{what}: {folder} is not a folder; {FORMATS}.")
    images = FolderImages(folder, reading)
    if images.left_out:
        count = len(images.left_out)
        warnings.warn(
            f"{what}: {count} of {count + len(images)} files in {folder} are not images and are left out; the first is "
            f"{images.left_out[0]}.",
            stacklevel=2,
        )
    failed: list[str] = []
    shape: tuple[int, ...] = ()
    for batch in DataLoader(images, reading.batch_size, num_workers=reading.workers, collate_fn=list):
        failed += [reason for _, _, reason in batch if reason]
        readable = [(torch.as_tensor(image), label) for image, label, reason in batch if not reason]
        shapes = {tuple(image.shape) for image, _ in readable} | ({shape} if shape else set())
        if len(shapes) > 1:
            raise ReproodError(f"{what}: the images in {folder} have different sizes {sorted(shapes)[:2]}; give size.")
        if readable:
            (shape,) = shapes
            stacked = torch.stack([image for image, _ in readable])
            yield _inputs(stacked, what, reading), torch.tensor([label for _, label in readable])
    if not shape:
        raise ReproodError(f"{what}: {folder} contains no readable image{f'; {failed[0]}' if failed else '.'}")
    if failed:
        warnings.warn(
            f"{what}: {len(failed)} of {len(images)} images in {folder} cannot be read and are left out; the first: "
            f"{failed[0]}",
            stacklevel=2,
        )


def _inputs(images: Tensor, what: str, reading: Reading) -> Tensor:
    """Return a batch as the network takes it: uint8 images normalised and channels first; others as they are."""
    if images.dtype != torch.uint8:
        return images
    first, last = images.ndim == 4 and images.shape[1] in (1, 3), images.ndim == 4 and images.shape[3] in (1, 3)
    if first == last:
        raise ReproodError(
            f"{what}: uint8 images have shape {tuple(images.shape)}; expected [N, C, H, W] or [N, H, W, C] with 1 or 3 "
            "channels."
        )
    images = images if first else images.permute(0, 3, 1, 2).contiguous()
    channels = images.shape[1]
    mean = reading.mean if reading.mean is not None else (0.0,) * channels
    return normalise(images, mean, reading.std if reading.std is not None else (1.0,) * channels)


def batches(source: Source, what: str, reading: Reading, *, ordered: bool) -> Iterator[Batch]:
    """Yield the inputs of a network with their labels, if there are any.

    Parameters
    ----------
    source
        Array or tensor, a pair (images, labels), image folder, Dataset or DataLoader.
    what : str
        The argument's name, for messages.
    reading : Reading
    ordered : bool
        Reject a DataLoader that shuffles: its samples could not be paired with those of another network.

    Raises
    ------
    ReproodError
        For another source, or one without samples.
    """
    if isinstance(source, str | Path):
        yield from _folder_batches(Path(source), what, reading)
        return
    images, labels = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    if isinstance(images, np.ndarray | Tensor):
        if len(images) == 0 or (labels is not None and len(labels) != len(images)):
            counts = f"{len(images)} images" + ("" if labels is None else f" and {len(labels)} labels")
            raise ReproodError(f"{what} has {counts}; expected at least one image, and one label for each.")
        for start in range(0, len(images), reading.batch_size):
            rows = slice(start, start + reading.batch_size)
            part = None if labels is None else torch.as_tensor(labels[rows])
            yield _inputs(torch.as_tensor(images[rows]), what, reading), part
        return
    if isinstance(source, DataLoader):
        loader = source
    elif hasattr(source, "__getitem__") and not isinstance(source, tuple | list):
        loader = DataLoader(source, reading.batch_size, num_workers=reading.workers)
    else:
        raise ReproodError(f"{what} is a {type(source).__name__}; {FORMATS}.")
    if ordered and isinstance(loader.sampler, RandomSampler):
        raise ReproodError(f"{what}: the DataLoader shuffles, so that samples cannot be paired; use shuffle=False.")
    if ordered and loader.drop_last:
        raise ReproodError(f"{what}: the DataLoader leaves out its last batch; use drop_last=False.")
    for batch in loader:
        pair = batch if isinstance(batch, tuple | list) else (batch,)
        if not isinstance(pair[0], Tensor):
            raise ReproodError(f"{what}: a batch is a {type(batch).__name__}; expected images or (images, labels).")
        known = len(pair) > 1 and isinstance(pair[1], Tensor) and pair[1].ndim == 1 and not pair[1].is_floating_point()
        yield _inputs(pair[0], what, reading), pair[1] if known else None


class Penultimate:
    """Hooks that take the features of a forward pass: the input of the last linear layer, or what a named layer gives.

    Attributes
    ----------
    layer : str
        The layer's name; "" before the first pass.
    head : (array [C, d], array [C]) or None
        Weight and bias of the layer if its output is the network's output.
    """

    def __init__(self, model: nn.Module, layer: str | None) -> None:
        modules = dict(model.named_modules())
        if layer is not None and layer not in modules:
            names = ", ".join(name for name, _ in model.named_children())
            raise ReproodError(f"The network has no layer '{layer}'; its top layers are {names}.")
        chosen = {name: m for name, m in modules.items() if isinstance(m, nn.Linear)}
        if layer is not None:
            chosen = {layer: modules[layer]}
        if not chosen:
            raise ReproodError("The network has no linear layer; name the layer of the features with layer=.")
        self.layer = ""
        self.head: tuple[Floats, Floats] | None = None
        self._modules = chosen
        self._last: tuple[str, Tensor, Any] | None = None
        self._handles = [m.register_forward_hook(partial(self._keep, name)) for name, m in chosen.items()]

    def _keep(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._last = (name, inputs[0] if isinstance(module, nn.Linear) else output, output)

    def take(self, logits: Tensor) -> Tensor:
        """Return the features [B, d] of the pass that gave these logits; maps are averaged over positions."""
        if self._last is None:
            raise ReproodError(f"The layer of the features ({', '.join(self._modules)}) did not run; name another.")
        name, features, output = self._last
        self._last = None
        if not self.layer:
            self.layer, module = name, self._modules[name]
            if isinstance(module, nn.Linear) and isinstance(output, Tensor) and torch.equal(output, logits):
                bias = module.bias if module.bias is not None else torch.zeros(len(module.weight))
                self.head = (_numpy(module.weight), _numpy(bias))
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(logits):
            raise ReproodError(f"The layer '{name}' gives no features [samples, d]; name another with layer=.")
        return features.flatten(2).mean(2) if features.ndim == 4 else features.flatten(1)

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


def _numpy(values: Tensor) -> Floats:
    return values.detach().float().cpu().numpy()


@contextmanager
def evaluating(model: nn.Module, device: str | None) -> Iterator[torch.device]:
    """Put a network in evaluation mode on a device (None: its own); afterwards restore each module's mode and device.

    Raises
    ------
    ReproodError
        When there is no such device.
    """
    home = next((one.device for one in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    try:
        place = torch.device(device) if device is not None else home
        if place != home:
            model.to(place)
    except (RuntimeError, AssertionError) as error:
        raise ReproodError(
            f"device is '{device}', which torch cannot use here ({str(error).splitlines()[0]})."
        ) from error
    try:
        model.eval()
        yield place
    finally:
        for module, mode in modes:
            module.training = mode
        if place != home:
            model.to(home)


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return logits [B, C]: the network's output, or its attribute `logits` (Hugging Face)."""
    try:
        output = model(images)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReproodError(
            f"The network cannot take inputs {tuple(images.shape)} of {images.dtype}: {reason}."
        ) from error
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ReproodError(f"The network gives {given}; expected logits [samples, classes].")
    return logits


@dataclass
class _Parts:
    """Outputs of the batches of one set."""

    logits: list[Floats] = field(default_factory=list)
    features: list[Floats] = field(default_factory=list)
    labels: list[Tensor | None] = field(default_factory=list)
    passes: dict[str, list[Floats]] = field(default_factory=dict)


@torch.no_grad()
def forward(
    model: nn.Module,
    device: torch.device,
    inputs: Iterator[Batch],
    what: str,
    penultimate: Penultimate | None,
    passes: Mapping[str, Mapping[str, Any]],
    std: Tensor,
) -> Loaded:
    """Run a network once over a set.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, on `device`.
    device : torch.device
    inputs : iterator
        From `batches`.
    what : str
        The argument's name, for messages.
    penultimate : Penultimate or None
        None: no features.
    passes : mapping
        Requests of `reprood.predict.passes.run_passes`, made on the same batches.
    std : Tensor [C]
        Scale of their steps.

    Raises
    ------
    ReproodError
        When there are no samples, or logits are not finite.
    """
    parts = _Parts(passes={name: [] for name in passes})
    precision = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    for batch, labels in inputs:
        images = batch.to(device, precision if batch.is_floating_point() else batch.dtype)
        logits = _logits(model, images)
        parts.logits.append(_numpy(logits))
        parts.labels.append(labels)
        if penultimate is not None:
            parts.features.append(_numpy(penultimate.take(logits)))
        for name, moved in run_passes(partial(_logits, model), [images], std, passes).items() if passes else ():
            parts.passes[name].append(_numpy(moved))
    if not parts.logits:
        raise ReproodError(f"{what} has no samples; check the source.")
    outputs = Outputs(
        np.concatenate(parts.logits),
        np.concatenate(parts.features) if penultimate is not None else None,
        {name: np.concatenate(rows) for name, rows in parts.passes.items()},
    )
    if not np.isfinite(outputs.logits).all():
        raise ReproodError(f"{what}: some logits are not finite; check the weights and the preprocessing.")
    known = [part for part in parts.labels if part is not None]
    complete = len(known) == len(parts.labels)
    return Loaded(outputs, whole_numbers(torch.cat(known).cpu().numpy(), what) if complete else None)
