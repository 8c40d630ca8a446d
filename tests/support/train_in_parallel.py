"""Train in several processes; started by torchrun (see tests/engine/test_engine_distributed.py).

Usage: torchrun --nproc-per-node 2 train_in_parallel.py {fit,run} FOLDER

fit: train a network twice, the second time stopped and resumed. run: train the benchmark FOLDER/data to FOLDER/out.
"""

import sys
from pathlib import Path

import torch
from tiny_problem import problem, run, settings
from torch import nn
from torch.nn import functional

import reprood.train.run
from reprood.engine.distributed import Workers, join_workers
from reprood.engine.fit import fit
from reprood.engine.run import Stopped
from reprood.engine.seeds import seeded
from reprood.engine.state import Row
from reprood.engine.training import Training
from reprood.nets.classifier import Classifier

CPU = torch.device("cpu")
IMAGES = 49  # the last of four batches has one image: one of two processes has none
TRAINING = Training(
    epochs=3, batch_size=16, lr=0.1, crop_padding=2, nesterov=True, clip_norm=0.5, ema=0.9, schedule="cosine_step"
)


class Plain(nn.Module):
    """A network without batch statistics: features [B, 8]."""

    width = 8

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(images)))).mean((2, 3))


def train(state: Path, workers: Workers, **changes: object) -> tuple[nn.Module, list[Row]]:
    task = problem(IMAGES)
    with seeded(1):
        model = Classifier(Plain(), 3)

    def loss(network, batch):
        return functional.cross_entropy(network(batch.images), batch.labels)

    return model, fit(model, loss, task.train, TRAINING, run(state, workers=workers, **changes), problem=task)


def main(mode: str, folder: Path) -> None:
    if mode == "run":
        reprood.train.run.network = lambda record, channels: Plain()
        reprood.train.run.train_run(
            settings("erm"), data=folder / "data", out=folder / "out", state=folder / "state", device="cpu", threads=1,
            data_parallel=True,
        )  # fmt: skip
        return
    with join_workers(CPU) as workers:
        torch.save(contents(*train(folder / "state" / "whole", workers)), folder / f"whole{workers.rank}")
        stops = iter([False] * 5 + [workers.rank == 1])  # only one of the processes gets the request to stop
        try:
            train(folder / "state" / "parts", workers, stop=lambda: next(stops))
        except Stopped:
            (folder / f"stopped{workers.rank}").touch()
        workers.any(False)  # rank 0 has written the checkpoint
        torch.save(contents(*train(folder / "state" / "parts", workers)), folder / f"parts{workers.rank}")


def contents(model: nn.Module, rows: list[Row]) -> tuple[dict[str, torch.Tensor], list[Row]]:
    return model.state_dict(), rows


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
