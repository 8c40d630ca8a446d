"""Prediction of tiny trained runs: rows, scores, metadata, repeatability, refusals."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tiny_problem
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.data.arrays import load_split, save_split
from reprood.detectors import logits as logit_scores
from reprood.detectors import odin
from reprood.detectors.table import DETECTORS
from reprood.images.augment import normalise
from reprood.predict.run import forward_pass, image_batches, predict_run, ranks
from reprood.train.run import load_model, train_run

DETECTOR_OPTIONS = {**{name: {} for name in DETECTORS}, "knn": {"k": 5}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tiny_problem.save_benchmark(tmp_path_factory.mktemp("data"))
    rng = np.random.default_rng(9)
    noise = rng.integers(0, 256, (17, 16, 16, 1), dtype=np.uint8)
    save_split(root / "noise", noise, np.full(17, -1), {}, {"name": "noise", "split": "noise", "classes": []})
    return root


def trained(folder: Path, data: Path, use: str) -> Path:
    settings = tiny_problem.settings(use)
    train_run(settings, data=data, out=folder / use, state=folder / "state" / use, device="cpu", threads=1)
    return folder / use


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return trained(tmp_path_factory.mktemp("runs"), data, "erm")


def splits(data: Path) -> dict[str, Path]:
    return {name: data / name for name in ("train", "validation", "test", "noise")}


def predict(run: Path, data: Path, out: Path, **changes: object) -> tuple[pd.DataFrame, dict[str, object]]:
    arguments = {"device": "cpu", "threads": 1, **changes}
    detectors = arguments.pop("detectors", DETECTOR_OPTIONS)
    predict_run(run, splits(data), detectors, out, **arguments)  # type: ignore[arg-type]
    table = pq.read_table(out)
    return table.to_pandas(), json.loads(table.schema.metadata[b"reprood"])


def test_rows_and_scores(run: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table, facts = predict(run, data, tmp_path / "p.parquet")
    assert list(dict.fromkeys(table["split"])) == ["validation", "test", "noise"]
    assert table.groupby("split").size().to_dict() == {"validation": 24, "test": 30, "noise": 17}
    assert list(table.columns) == [
        "split",
        "row",
        "label",
        "prediction",
        "label_rank",
        *(f"score_{name}" for name in DETECTORS),
    ]
    assert all(table[name].dtype == np.int32 for name in ("row", "label", "prediction", "label_rank"))
    assert all(table[f"score_{name}"].dtype == np.float64 for name in DETECTORS)
    test, noise = (table[table["split"] == name] for name in ("test", "noise"))
    assert (test["row"] == np.arange(30)).all()
    assert (noise["label"] == -1).all()
    assert (noise["label_rank"] == -1).all()
    assert ((test["label_rank"] == 0) == (test["prediction"] == test["label"])).all()

    model, meta, _, _ = load_model(run, "cpu")
    pixels = torch.from_numpy(np.moveaxis(load_split(data / "test").images, 3, 1).copy())
    images = normalise(pixels, meta["mean"], meta["std"])
    with torch.no_grad():
        values = model(images)
    assert (values.argmax(1).numpy() == test["prediction"]).all()
    np.testing.assert_allclose(test["score_msp"], logit_scores.msp(values), atol=1e-6)
    np.testing.assert_allclose(test["score_energy"], logit_scores.energy(values), atol=1e-5)
    step = odin.odin(model, images, torch.tensor(meta["std"]))
    np.testing.assert_allclose(test["score_odin"], step, atol=1e-7)

    assert (facts["benchmark"], facts["method"], facts["seed"]) == ("bench", "arm", 0)
    assert facts["splits"] == {name: load_split(data / name).meta["content"] for name in splits(data)}
    assert facts["skipped"] == {}
    assert facts["native"] == []
    assert set(facts["versions"]) == {"numpy", "torch", "pyarrow"}
    said = capfd.readouterr().err
    assert "bench/arm/0" in said
    assert "images/s" in said


def test_same_run_same_bytes_and_no_path_in_them(run: Path, data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        predict(run, data, tmp_path / name / "p.parquet")
    first, second = ((tmp_path / name / "p.parquet").read_bytes() for name in ("a", "b"))
    assert first == second
    assert str(tmp_path).encode() not in first
    assert str(data).encode() not in first


def test_the_batch_size_changes_rounding_only(run: Path, data: Path, tmp_path: Path) -> None:
    first, _ = predict(run, data, tmp_path / "a.parquet", batch_size=7)
    second, _ = predict(run, data, tmp_path / "b.parquet", batch_size=500)
    for name in DETECTORS:
        np.testing.assert_allclose(first[f"score_{name}"], second[f"score_{name}"], rtol=1e-3, atol=1e-3)
    assert (first["row"] == second["row"]).all()


def test_msp_is_always_there(run: Path, data: Path, tmp_path: Path) -> None:
    table, _ = predict(run, data, tmp_path / "p.parquet", detectors={"knn": {"k": 3}})
    assert [name for name in table.columns if name.startswith("score_")] == ["score_msp", "score_knn"]


def test_a_methods_own_scores_and_skipped_detectors(tmp_path: Path, data: Path) -> None:
    """Generalized ODIN: no affine head, three scores and one for each step size, a step chosen on validation."""
    run = trained(tmp_path, data, "godin")
    table, facts = predict(run, data, tmp_path / "p.parquet")
    assert set(facts["skipped"]) == {"vim", "react"}
    assert "affine" in facts["skipped"]["vim"]
    assert "score_vim" not in table
    assert {"godin_h", "godin_h_star", "godin_g"} <= set(facts["native"])
    assert all(f"score_{name}" in table for name in facts["native"])
    fitted = facts["fitted"]["godin"]
    model, meta, method, config = load_model(run, "cpu")
    assert fitted["epsilon"] in config.epsilons
    images = next(image_batches(load_split(data / "test"), meta, torch.device("cpu"), 30)())
    expected = method.scores(model, images, config, fitted)
    for name, values in expected.items():
        np.testing.assert_allclose(table[table["split"] == "test"][f"score_{name}"], values, atol=1e-5)


def test_ranks_break_ties_as_argmax() -> None:
    values = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [5.0, 0.0, 0.0]])
    assert ranks(values, torch.tensor([0, 1, 0, -1])).tolist() == [0, 1, 2, -1]


class Wrong(nn.Module):
    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] * (float("nan") if images.max() > 5 else 1)


def test_a_head_that_does_not_give_the_logits_is_refused() -> None:
    def batches(value: float = 1.0) -> Iterator[Tensor]:
        yield torch.full((3, 1, 2, 2), value)

    with pytest.raises(ReproodError, match="linear_head"):
        forward_pass(Wrong(), (torch.ones(2, 4), torch.zeros(2)), batches)
    right = torch.eye(2, 4), torch.zeros(2)
    assert torch.equal(forward_pass(Wrong(), right, batches).logits, torch.ones(3, 2))
    with pytest.raises(ReproodError, match="not finite"):
        forward_pass(Wrong(), None, lambda: batches(9.0))


def test_refuses(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    with pytest.raises(ReproodError, match="train is missing"):
        predict_run(run, {"validation": data / "validation", "test": data / "test"}, {"knn": {}}, out, device="cpu")
    with pytest.raises(ReproodError, match="no detector 'knnn'"):
        predict(run, data, out, detectors={"knnn": {}})
    with pytest.raises(ReproodError, match="k = 97 .*there are 96"):
        predict(run, data, out, detectors={"knn": {"k": 97}})
    large = np.zeros((4, 20, 20, 1), np.uint8)
    save_split(tmp_path / "large", large, np.full(4, -1), {}, {"name": "large", "classes": []})
    with pytest.raises(ReproodError, match=r"\(20, 20, 1\), the model was trained on \(16, 16, 1\)"):
        predict_run(run, {**splits(data), "large": tmp_path / "large"}, {}, out, device="cpu", threads=1)
    with pytest.raises(ReproodError, match="the model knows 3 classes"):
        predict_run(run, {**splits(data), "test": data / "noise"}, {}, out, device="cpu", threads=1)
    assert not out.exists()
