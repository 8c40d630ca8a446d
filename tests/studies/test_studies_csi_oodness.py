"""The study of OOD-ness: AUROC by hand, what is refused, the figure."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny_problem import Net, image_set, problem
from torch import nn

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.evaluate.metrics import auroc, rank
from reprood.images.augment import normalise
from reprood.images.rotations import rotate
from reprood.methods.csi import method as csi
from reprood.report.studies.csi_oodness import draw
from reprood.studies.base import Context
from reprood.studies.csi_oodness import Config, measure

SIMCLR = csi.Config(shift="none", test_views=2, projection=5)


def context(config: csi.Config = SIMCLR) -> Context:
    models: dict[int, nn.Module] = {}
    for seed in (0, 1):
        with seeded(seed):
            models[seed] = csi.build(config, Net(), 1).eval()
    task = replace(problem(20, classes=1), monitor={"test": image_set(12, classes=1, seed=3)})
    return Context(
        "oodness", (0, 1), torch.device("cpu"), dict.fromkeys((0, 1), task), {"simclr": models}, {"simclr": config}
    )


def test_rotation_by_hand() -> None:
    task = context()
    found = measure(Config(images=10, families=("rotation", "noise")), task)
    assert found.rows == measure(Config(images=10, families=("rotation", "noise")), task).rows
    assert [(row["seed"], row["arm"]) for row in found.rows] == [(s, f) for s in (0, 1) for f in ("rotation", "noise")]
    model, data = task.models["simclr"][1], task.problem(1)

    def normal(images: torch.Tensor) -> torch.Tensor:
        return normalise(images, data.mean, data.std)

    fitted = csi.fit_on_train(
        model, lambda: iter([(normal(data.train.images), data.train.labels)]), SIMCLR, torch.Generator()
    )
    images = data.monitor["test"].images[:10]
    turned = torch.cat([rotate(images, k) for k in (1, 2, 3)])
    inside, outside = (csi.scores(model, normal(some), SIMCLR, fitted)["con"] for some in (images, turned))
    expected = 100 * float(auroc(rank(inside.numpy(), outside.numpy()).counts()))
    assert found.rows[2]["value"] == pytest.approx(expected)
    figure = draw(pd.DataFrame(found.rows), found.arrays)
    assert len(figure.axes) == 2


def test_another_method_is_refused() -> None:
    with pytest.raises(ReproodError, match="is not SimCLR"):
        measure(Config(), context(csi.Config(test_views=2)))
