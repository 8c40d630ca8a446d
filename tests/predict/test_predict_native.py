"""What a method itself says: fitted on training images, scores, maps as they are stored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from reprood.core.errors import ReproodError
from reprood.data.arrays import Split
from reprood.evaluate.map_codec import unpack_maps
from reprood.methods.base import Method, Paper
from reprood.predict.forward import Stored
from reprood.predict.native import LEVELS, fit_native, map_columns, with_labels


def stored(count: int, start: float = 0.0) -> Stored:
    images = start + torch.arange(count * 16, dtype=torch.float32).view(count, 1, 4, 4) / 16
    batches = lambda: iter(images.split(2))  # noqa: E731
    return Stored(torch.zeros(count, 1), torch.zeros(count, 1), batches)


def method(**functions):
    nothing = {"config": BaseModel, "build": None, "train": None}
    return Method(name="own", paper=Paper("", ""), **nothing, **functions)


def fit_on_train(model, batches, config, generator):
    seen = [(images.flatten(1).mean(1), labels) for images, labels in batches()]
    return {
        "mean": torch.cat([values for values, _ in seen]).mean(),
        "labels": torch.cat([labels for _, labels in seen]),
        "drawn": torch.rand(2, generator=generator),
    }


def test_what_is_fitted_on_training_images_reaches_scores_and_numbers() -> None:
    def fit_scores(model, validation, config, fitted):
        return {"scale": float(fitted["mean"]) + len(validation.labels)}

    def scores(model, images, config, fitted):
        own = images.flatten(1).mean(1)
        return {"own": own - fitted["mean"], "scaled": own / fitted["scale"]}

    said = method(fit_on_train=fit_on_train, fit_scores=fit_scores, scores=scores)
    train = with_labels(stored(5).batches, torch.arange(5))
    native = fit_native(said, None, None, train, stored(3), torch.zeros(3), "a/b/0")
    assert native.state["labels"].tolist() == [0, 1, 2, 3, 4]
    assert native.numbers == {"scale": pytest.approx(float(native.state["mean"]) + 3)}
    found = native.scores(stored(3))
    assert list(found) == ["own", "scaled"]
    assert found["own"].dtype == torch.float64
    assert found["own"].tolist() == pytest.approx([-2.0, -1.0, 0.0])
    again = fit_native(said, None, None, train, stored(3), torch.zeros(3), "a/b/0")
    other = fit_native(said, None, None, train, stored(3), torch.zeros(3), "a/b/1")
    assert torch.equal(native.state["drawn"], again.state["drawn"])
    assert not torch.equal(native.state["drawn"], other.state["drawn"])


def test_mistakes_of_a_method_are_reported() -> None:
    with pytest.raises(ReproodError, match="needs the split train"):
        fit_native(method(fit_on_train=fit_on_train), None, None, None, stored(2), torch.zeros(2), "a/b/0")
    both = method(fit_on_train=fit_on_train, fit_scores=lambda *_: {"mean": 1.0})
    with pytest.raises(ReproodError, match="both return 'mean'"):
        fit_native(both, None, None, with_labels(stored(2).batches, torch.zeros(2)), stored(2), torch.zeros(2), "r")


def split(count: int, masks: np.ndarray | None) -> Split:
    extras = {} if masks is None else {"masks": masks}
    return Split(Path("folder"), np.zeros((count, 4, 4, 1), np.uint8), np.zeros(count, np.int64), extras, {})


def test_maps_are_stored_on_one_scale_with_their_masks() -> None:
    said = method(anomaly_maps=lambda model, images, config, fitted: images[:, 0])
    native = fit_native(said, None, None, None, stored(1), torch.zeros(1), "r")
    masks = np.zeros((3, 4, 4), np.uint8)
    masks[1, 2, 3] = 255
    splits = {"test": stored(2), "defects": stored(3, start=1.0)}
    columns, facts = map_columns(native, splits, {"test": split(2, masks[:2] * 0), "defects": split(3, masks)})
    assert facts == {"side": 4, "low": 0.0, "high": 1 + 47 / 16, "levels": LEVELS}
    level = unpack_maps(columns["defects"]["map"], 4)[1]
    expected = (1 + np.arange(16, 32) / 16) / facts["high"] * LEVELS
    assert np.abs(level - expected.reshape(4, 4)).max() <= 0.5 + 1e-9
    assert np.array_equal(
        np.unpackbits(np.frombuffer(columns["defects"]["mask"][1], np.uint8)).reshape(4, 4), masks[1] > 0
    )
    assert unpack_maps(columns["defects"]["map"], 4).max() == LEVELS


def test_without_maps_nothing_is_stored_and_bad_maps_are_refused() -> None:
    silent = fit_native(method(), None, None, None, stored(1), torch.zeros(1), "r")
    assert map_columns(silent, {"test": stored(1)}, {"test": split(1, None)}) == ({}, {})
    small = method(anomaly_maps=lambda model, images, config, fitted: images[:, 0, :2])
    native = fit_native(small, None, None, None, stored(1), torch.zeros(1), "r")
    with pytest.raises(ReproodError, match="expected \\(1, 4, 4\\)"):
        map_columns(native, {"test": stored(1)}, {"test": split(1, None)})
    whole = method(anomaly_maps=lambda model, images, config, fitted: images[:, 0])
    native = fit_native(whole, None, None, None, stored(1), torch.zeros(1), "r")
    with pytest.raises(ReproodError, match="has no masks"):
        map_columns(native, {"test": stored(1)}, {"test": split(1, None)})
