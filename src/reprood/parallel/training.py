"""One training in several processes: `torchrun --nproc-per-node N -m reprood train ...`.

Every process follows the same program with the same random draws and shares the network's images out
(`reprood.parallel.backbone`); the first one writes.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import reprood.train.run
from reprood.engine.device import resolve_device
from reprood.core.files import read_json, sha256_file, write_json
from reprood.parallel.backbone import sharing
from reprood.parallel.launch import die_with_launcher, world


def train_together(settings: Mapping[str, Any], *, out: Path, state: Path, device: str, **options: Any) -> None:
    """`reprood.train.run.train_run` in all processes of a group; run.json says how many there were.

    Raises
    ------
    ReproodError
        As `train_run`.
    """
    backend = "nccl" if resolve_device(device).type == "cuda" else "gloo"
    die_with_launcher()
    own_group = not dist.is_initialized()
    if own_group:
        dist.init_process_group(backend)
    rank = dist.get_rank()
    original = reprood.train.run.network
    reprood.train.run.network = sharing(original)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            # a place of its own: a checkpoint of another number of processes is not gone on from
            shared = state.with_name(f"{state.name}-x{world()}")
            own_out, own_state = (out, shared) if rank == 0 else (Path(scratch) / "out", Path(scratch) / "state")
            _share_checkpoints(own_state, rank)
            if rank:
                options = {**options, "heartbeat": None, "checkpoint_seconds": float("inf")}
            with _quiet() if rank else _as_it_is():
                reprood.train.run.train_run(settings, out=own_out, state=own_state, device=device, **options)
            hashes: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(hashes, sha256_file(own_out / "model.safetensors"))
            if rank == 0:
                facts = {"processes": dist.get_world_size(), "backend": backend, "same_bits": len(set(hashes)) == 1}
                write_json(out / "run.json", {**read_json(out / "run.json"), "parallel": facts})
            dist.barrier()
    finally:
        reprood.train.run.network = original
        if own_group:
            dist.destroy_process_group()


def _share_checkpoints(folder: Path, rank: int) -> None:
    """All processes go on from the first one's checkpoints."""
    found: list[Any] = [None]
    if rank == 0:
        found = [{p.name: p.read_bytes() for p in folder.glob("*") if p.is_file() and p.name != "lock"}]
    device = torch.device("cuda", 0) if dist.get_backend() == "nccl" else None
    dist.broadcast_object_list(found, src=0, device=device)
    if rank:
        folder.mkdir(parents=True)
        for name, data in found[0].items():
            (folder / name).write_bytes(data)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Only the first process reports its progress; mistakes are told by all."""
    told = sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stderr = told
