"""Run by torchrun: python together.py FOLDER SETTINGS. Writes errors.json (float64 gradients), then trains a run."""

import copy
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional

from reprood.nets.classifier import Classifier
from reprood.nets.wrn import build
from reprood.parallel.backbone import share_out
from reprood.parallel.training import train_together


def errors() -> dict[str, float]:
    """Relative errors of one step of a network shared out to the processes, with dropout and an uneven batch."""
    torch.manual_seed(0)
    alone = Classifier(build(1, depth=10, width=0.5, stem_stride=2, dropout=0.3), 4).double()
    shared = copy.deepcopy(alone)
    share_out(shared.backbone)
    shared = copy.deepcopy(shared)  # as methods do that keep two of them
    images, labels = torch.randn(13, 1, 16, 16, dtype=torch.float64), torch.randint(4, (13,))
    found = []
    for model in (alone, shared):
        model.train()
        torch.manual_seed(5)
        inputs = images.clone().requires_grad_()
        value = functional.cross_entropy(model(inputs), labels)
        value.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
        statistics = torch.cat([b.double().flatten() for b in model.buffers()])
        model.eval()
        with torch.no_grad():
            found.append((value.detach(), gradients, inputs.grad, statistics, model(images)))
    names = ("loss", "gradients", "input_gradients", "statistics", "logits_in_evaluation")
    return {name: float((a - b).norm() / a.norm()) for name, a, b in zip(names, *found, strict=True)}


def main(folder: Path, settings: str) -> None:
    dist.init_process_group("gloo")
    found = errors()
    if dist.get_rank() == 0:
        (folder / "errors.json").write_text(json.dumps(found))
    train_together(
        json.loads(settings),
        data=folder / "data",
        out=folder / "together",
        state=folder / "state",
        device="cpu",
        threads=1,
        heartbeat=folder / "beat.json",
        checkpoint_seconds=1000.0,
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
