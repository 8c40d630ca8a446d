"""CSI's test-time views: as many views as the method has give the method's own scores."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_problem import Net, image_set, problem

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.evaluate.metrics import auroc, rank
from reprood.images.augment import normalise
from reprood.methods.csi import method as csi
from reprood.report.studies.csi_views import draw
from reprood.studies import csi_views
from reprood.studies.base import Context

VIEWS = (1, 3)


def context(ood: bool = True) -> Context:
    task = problem(20, size=16, channels=1)
    config = csi.Config(test_views=VIEWS[-1])
    with seeded(0):
        model = csi.build(config, Net(1), 1).eval()
    model.mean.copy_(torch.tensor(task.mean).expand(3))
    model.std.copy_(torch.tensor(task.std).expand(3))
    outliers = {0: {"others": image_set(12, 16, 1, 3)}} if ood else {}
    return Context(
        "views", (0,), torch.device("cpu"), {0: task}, {"csi": {0: model}}, {"csi": config}, outliers=outliers
    )


def test_all_views_give_the_methods_scores() -> None:
    given = context()
    found = csi_views.measure(csi_views.Config(views=VIEWS), given)
    assert [(row["arm"], row["metric"]) for row in found.rows] == [("views_1", "auroc"), ("views_3", "auroc")]
    task, model, config = given.problem(0), given.models["csi"][0], given.configs["csi"]

    def shown(data: torch.Tensor) -> torch.Tensor:
        return normalise(data, task.mean, task.std)

    fitted = csi.fit_on_train(
        model, lambda: iter([(shown(task.train.images), task.train.labels)]), config, torch.Generator()
    )
    sets = (task.monitor["test"], given.outliers[0]["others"])
    test, others = (csi.scores(model, shown(one.images), config, fitted)["csi"].numpy() for one in sets)
    assert found.rows[-1]["value"] == pytest.approx(float(auroc(rank(test, others).counts())), abs=1e-9)
    single = config.model_copy(update={"test_views": 1})
    fitted = csi.fit_on_train(
        model, lambda: iter([(shown(task.train.images), task.train.labels)]), single, torch.Generator()
    )
    test, others = (csi.scores(model, shown(one.images), single, fitted)["csi"].numpy() for one in sets)
    assert found.rows[0]["value"] == pytest.approx(float(auroc(rank(test, others).counts())), abs=1e-9)
    assert draw(pd.DataFrame(found.rows), {}).axes[0].get_xlabel() == "views at test time"
    assert np.isfinite([row["value"] for row in found.rows]).all()


def test_a_suite_without_ood_sets_is_told_what_to_do() -> None:
    with pytest.raises(ReproodError, match="needs OOD sets; add `ood: true`"):
        csi_views.measure(csi_views.Config(), context(ood=False))
