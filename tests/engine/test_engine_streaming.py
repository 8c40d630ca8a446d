"""Streaming: the images of an epoch do not depend on the number of workers or an interruption, and errors are clear."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_files import write_images
from PIL import Image
from tiny_problem import Net, run
from torch.nn import functional
from torchvision.transforms import v2

from reprood.core.errors import ReproodError
from reprood.data.image_index import ImageIndex
from reprood.engine.distributed import Workers
from reprood.engine.run import Stopped
from reprood.engine.seeds import seeded
from reprood.engine.streaming import Epoch, Pictures, StreamedProblem, fit_streamed, load
from reprood.engine.training import Training
from reprood.images.augment import normalise

SIZE = 16


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "train"
    names = sorted(write_images(folder, 12))
    paths = np.array([os.fsencode(folder / name) for name in names], dtype=np.bytes_)
    labels = np.array([sorted({name.split("/")[0] for name in names}).index(name.split("/")[0]) for name in names])
    return ImageIndex(paths, np.zeros(12, np.uint64), labels, 0, 0)


def epoch(start: int = 0) -> Epoch:
    return Epoch(torch.arange(11, -1, -1), size=5, start=start, stop=3, seeds=("seed", 3))


def test_batches_do_not_depend_on_the_processes_that_read_them(index):
    pictures = Pictures(index, SIZE)
    alone = list(load(pictures, epoch(), 0))
    assert [batch.shape for batch in alone] == [(5, 3, SIZE, SIZE), (5, 3, SIZE, SIZE), (2, 3, SIZE, SIZE)]
    assert alone[0].dtype == torch.uint8
    assert torch.equal(torch.cat(alone), torch.cat(list(load(pictures, epoch(), 2))))
    assert torch.equal(torch.cat(alone[1:]), torch.cat(list(load(pictures, epoch(start=1), 1))))  # resumed


def test_processes_that_share_a_batch_read_their_own_images():
    whole = list(epoch())
    shares = [list(replace(epoch(), share=Workers(rank, 2).rows)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*shares, strict=True)] == whole


def test_an_image_is_torchvisions_transform_of_its_file_with_its_own_seed(index):
    pictures = Pictures(index, SIZE)
    chain = v2.Compose([v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    ours = pictures[4, 7]
    with Image.open(os.fsdecode(index.paths[4])) as picture:
        torch.manual_seed(7)
        assert torch.equal(ours, chain(picture.convert("RGB")))
    assert not torch.equal(pictures[4, 7], pictures[4, 8])


def test_a_missing_image_is_one_sentence_from_any_process(index):
    paths = index.paths.copy()
    paths[2] = b"/nowhere/a.JPEG"
    for loaders in (0, 1):
        with pytest.raises(
            ReproodError, match="^The image /nowhere/a.JPEG of a streamed split cannot be read"
        ) as caught:
            list(load(Pictures(replace(index, paths=paths), SIZE), epoch(), loaders))
        assert "\n" not in str(caught.value)


def train(index, context, epochs: int = 2):
    def loss(network, batch):
        return functional.cross_entropy(network(batch.images)[:, :3], batch.labels)

    problem = StreamedProblem(
        train=Pictures(index, SIZE),
        labels=torch.from_numpy(index.labels),
        monitor={"test": (np.zeros((3, SIZE, SIZE, 3), np.uint8), np.array([0, 1, 2]))},
        classes=3,
        channels=3,
        size=SIZE,
        backbone=lambda: Net(3),
    )
    with seeded(0):
        model = Net(3, dropout=0.2)
    training = Training(epochs=epochs, batch_size=5, lr=0.1)
    rows = fit_streamed(
        model, loss, problem, training, context, inputs=lambda images, _: normalise(images, problem.mean, problem.std)
    )
    return model, rows


def test_a_resumed_training_has_the_same_bits(index, tmp_path):
    model, rows = train(index, run(tmp_path / "a"))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(0 <= row["test_error"] <= 100 for row in rows)
    steps = iter(range(100))
    with pytest.raises(Stopped):
        train(index, replace(run(tmp_path / "b"), stop=lambda: next(steps) == 3))  # in the second epoch
    again, rows_again = train(index, run(tmp_path / "b"))
    assert rows_again == rows
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
