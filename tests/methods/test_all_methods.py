"""Every method's record: static facts, and one tiny training from building to scores."""

from pathlib import Path

import pytest
import torch
import yaml
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from tiny_problem import image_set, problem, run
from torch import nn

from reprood.config.external import EXTERNAL
from reprood.core.errors import ReproodError
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.methods import registry
from reprood.methods.base import Method, Paper
from reprood.nets.registry import backbone

PAPERS = Path(__file__).parents[2] / "config" / "papers"
WRN = {"name": "wrn", "depth": 10, "width": 0.25, "stem_stride": 2}
ONE_CLASS = ("csi", "cutpaste", "goad", "ss_one_class", "ss_one_class_crops")
COUNT, BATCH, SIZE = 16, 8, 16

# Settings that make a method's defaults fit 16 images of 16 x 16 pixels.
SETTINGS = {
    "arpl": {"confusing": True, "gan_width": 2, "noise": 5},
    "cnc": {"corruptions": ("gaussian_noise", "contrast")},
    "csi": {"projection": 5, "test_views": 2},
    "cutpaste": {"scar_width": (2, 4), "scar_height": (4, 8), "epoch_images": 0, "hidden": (6,)},
    "dias": {"gan_width": 2, "noise": 5},
    "hood": {"tau": 0.3},
    "localiser": {"pretrained": False},
    "ss_one_class_crops": {"crop": 12},
}
BACKBONES = {"arpl": {"name": "staged", "width": 4}, "dias": {"name": "staged", "width": 4}}
AUXILIARY = {
    "adversarial_pretraining": "near",
    "biamat": "near",
    "energy_oe": "letters",
    "finetune": "source",
    "hood": "letters",
    "hood_mmd": "letters",
    "oe": "letters",
}


def tiny_config(method: Method) -> BaseModel:
    """The default settings, with two steps in every phase."""
    config = method.config.model_validate(SETTINGS.get(method.name, {}))
    short = {"epochs": 1, "batch_size": BATCH, "warmup_epochs": 0.0, "crop_padding": 1, "monitor_every": 1}
    phases = {
        name: value.model_copy(update=short)
        for name in method.config.model_fields
        if isinstance(value := getattr(config, name), Training)
    }
    return config.model_copy(update=phases)


def tiny_backbone(method: Method) -> nn.Module:
    options = dict(BACKBONES.get(method.name, WRN))
    return backbone(options.pop("name"))(1, **options)


def tiny_task(method: Method) -> Problem:
    task = problem(COUNT, size=SIZE, classes=1 if method.name in ONE_CLASS else 3)
    auxiliary = {}
    if method.name in AUXILIARY:
        auxiliary[AUXILIARY[method.name]] = image_set(40, size=SIZE, seed=5)
    changes = {"auxiliary": auxiliary, "backbone": lambda: tiny_backbone(method)}
    return Problem(**{**vars(task), **changes})


@pytest.mark.parametrize("name", registry.methods())
def test_a_record_agrees_with_its_file_and_its_paper(name) -> None:
    record = registry.method(name)
    assert record.name == name
    assert registry.fits_on_train(name) == (record.fit_on_train is not None)
    assert isinstance(record.config(), BaseModel)
    assert record.config.model_config["frozen"]
    assert record.config.model_config["extra"] == "forbid"
    if record.paper.id:
        paper = yaml.safe_load((PAPERS / f"{record.paper.id}.yaml").read_text(encoding="utf-8"))
        assert (record.paper.title, record.paper.url) == (paper["title"], f"https://arxiv.org/abs/{paper['arxiv']}")


def test_every_paper_has_a_method() -> None:
    assert {registry.method(name).paper.id for name in registry.methods()} == {
        "",
        *(path.stem for path in PAPERS.glob("*.yaml")),
    }


@pytest.mark.parametrize("name", [name for name in registry.methods() if name != EXTERNAL])
def test_build_train_store_load_score(name, tmp_path) -> None:
    method = registry.method(name)
    config, task = tiny_config(method), tiny_task(method)
    model, rows = method.train(task, config, run(tmp_path / "state"))
    assert rows
    assert all({"phase", "epoch", "train_loss"} <= row.keys() for row in rows)

    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    with seeded(0):
        stored = method.build(config, tiny_backbone(method), task.classes)
    stored.load_state_dict(load_file(tmp_path / "model.safetensors"))
    model.eval()
    stored.eval()
    images = (task.validation.images[:6].float() / 255 - task.mean[0]) / task.std[0]
    with torch.no_grad():
        logits, features = stored(images), stored.features(images)
        torch.testing.assert_close(logits, model(images), rtol=1e-5, atol=1e-6)  # another memory layout
    assert logits.shape == (6, task.classes)
    assert features.shape[0] == 6
    assert features.dim() == 2

    labels = task.validation.labels[:6]
    state = {}
    if method.fit_on_train is not None:
        state = method.fit_on_train(stored, lambda: iter([(images, labels)]), config, torch.Generator())
    numbers = {}
    if method.fit_scores is not None:
        numbers = method.fit_scores(stored, ImageSet(images, labels), config, state)
        assert all(isinstance(value, float) for value in numbers.values())
    assert not set(state) & set(numbers)
    fitted = {**state, **numbers}
    if method.scores is not None:
        scores = method.scores(stored, images, config, fitted)
        assert scores
        for values in scores.values():
            assert (values.shape, values.dtype) == ((6,), torch.float64)
            assert bool(values.isfinite().all())
    if method.anomaly_maps is not None:
        assert method.anomaly_maps(stored, images, config, fitted).shape == (6, SIZE, SIZE)


@pytest.mark.parametrize("name", [name for name in registry.methods() if registry.method(name).illustrate])
def test_illustrations_are_images_and_functions_of_the_generator(name) -> None:
    method = registry.method(name)
    config = tiny_config(method)
    images = torch.randn(5, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    first, again, other = (method.illustrate(images, config, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert (first.shape, first.dtype) == (images.shape, images.dtype)
    assert bool(first.isfinite().all())
    assert torch.equal(first, again)
    if name != "hood":  # crops and flips by default, which may agree on few images
        assert not torch.equal(first, other)


def test_a_misspelt_capability_is_an_error() -> None:
    parts = {"name": "own", "paper": Paper("", ""), "config": BaseModel, "build": None, "train": None}
    Method(**parts, scores=lambda *_: {})
    with pytest.raises(TypeError, match="score"):
        Method(**parts, score=lambda *_: {})


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ReproodError, match="no 'cutmixx' in reprood.methods; known: adversarial_pretraining, arpl"):
        registry.method("cutmixx")
    assert not registry.fits_on_train("cutmixx")
