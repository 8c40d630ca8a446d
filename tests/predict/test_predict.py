"""Prediction of tiny trained runs: rows, stored outputs, metadata, repeatability, rejected input."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tiny_problem
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from reprood.config.benchmark import Benchmark
from reprood.core.errors import ReproodError
from reprood.data.arrays import load_split, save_split
from reprood.detectors import energy, msp, registry
from reprood.evaluate.calibration import rms_calibration_error
from reprood.evaluate.metrics import detection_metrics
from reprood.evaluate.outputs import load_outputs
from reprood.evaluate.predictions import load_predictions
from reprood.evaluate.run import evaluate_outputs
from reprood.evaluate.table import read_metrics
from reprood.images.augment import normalise
from reprood.predict.files import half_precision
from reprood.predict.forward import forward_pass, image_batches, label_ranks
from reprood.predict.passes import perturb
from reprood.predict.run import predict_run
from reprood.train.run import load_model, train_run

ODIN = registry.passes_of({"odin": {}})
DETECTORS = {**{name: {} for name in registry.names()}, "knn": {"k": 5}}
ALL = {"features": True, "passes": ODIN}


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
    arguments = {"device": "cpu", "threads": 1, "requests": ALL, **changes}
    predict_run(run, splits(data), out, **arguments)  # type: ignore[arg-type]
    table = pq.read_table(out / "predictions.parquet")
    return table.to_pandas(), json.loads(table.schema.metadata[b"reprood"])


def normalised_test_images(data: Path, meta: dict[str, object]) -> Tensor:
    pixels = torch.from_numpy(np.moveaxis(load_split(data / "test").images, 3, 1).copy())
    return normalise(pixels, meta["mean"], meta["std"])


def test_rows_and_outputs(run: Path, data: Path, tmp_path: Path) -> None:
    table, facts = predict(run, data, tmp_path)
    assert list(dict.fromkeys(table["split"])) == ["validation", "test", "noise"]
    assert table.groupby("split").size().to_dict() == {"validation": 24, "test": 30, "noise": 17}
    passes = [f"pass_{name}" for name in ODIN]
    assert list(table.columns) == ["split", "row", "label", "prediction", "label_rank", "logits", *passes]
    assert all(table[name].dtype == np.int32 for name in ("row", "label", "prediction", "label_rank"))
    test, noise = (table[table["split"] == name] for name in ("test", "noise"))
    assert (test["row"] == np.arange(30)).all()
    assert (noise["label"] == -1).all()
    assert (noise["label_rank"] == -1).all()
    assert ((test["label_rank"] == 0) == (test["prediction"] == test["label"])).all()

    model, meta, _, _ = load_model(run, "cpu")
    images = normalised_test_images(data, meta)
    with torch.no_grad():
        values, features = model(images).numpy(), model.features(images).numpy()
    moved = perturb(model, images, torch.tensor(meta["std"]), 1000.0, [0.0014])[0]
    raw = load_outputs(tmp_path, features=True)
    np.testing.assert_allclose(raw.splits["test"].logits, values, atol=1e-6)
    np.testing.assert_allclose(raw.splits["test"].passes[next(iter(ODIN))], model(moved).detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(raw.splits["test"].features, features, rtol=2**-11, atol=1e-6)
    assert (values.argmax(1) == test["prediction"]).all()
    assert raw.reference.head is not None
    np.testing.assert_allclose(features @ raw.reference.head[0].T + raw.reference.head[1], values, atol=1e-5)
    assert raw.reference.train is not None
    assert raw.reference.train.features.shape == (96, features.shape[1])
    assert raw.reference.labels.tolist() == load_split(data / "train").labels.tolist()

    assert (facts["benchmark"], facts["method"], facts["seed"]) == ("bench", "arm", 0)
    assert facts["splits"] == {name: load_split(data / name).meta["content"] for name in splits(data)}
    assert facts["native"] == []
    assert set(facts["versions"]) == {"numpy", "torch", "pyarrow"}


def test_features_and_passes_are_stored_on_request_only(run: Path, data: Path, tmp_path: Path) -> None:
    table, _ = predict(run, data, tmp_path, requests={})
    assert not any(name.startswith(("pass_", "score_")) for name in table.columns)
    assert set(load_file(tmp_path / "features.safetensors")) == {"head/weight", "head/bias"}
    predict(run, data, tmp_path / "all")
    stored = load_file(tmp_path / "all" / "features.safetensors")
    assert {name for name in stored if name.startswith("features/")} == {f"features/{name}" for name in splits(data)}
    assert all(values.dtype == np.float16 for name, values in stored.items() if name.startswith("features/"))


def test_progress_counts_every_image(run: Path, data: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    predict(run, data, tmp_path, progress=lambda *call: calls.append(call), batch_size=20)
    total = 96 + 24 + 30 + 17
    first = [call for call in calls if call[2] is not None]
    assert first[-1] == ("noise", total, total)
    assert [done for _, done, _ in first] == sorted(done for _, done, _ in first)
    assert [call for call in calls if call[2] is None][-1][1] == total - 96  # the pass of ODIN


def evaluated(folder: Path, use: str, detectors: dict[str, dict[str, object]], **changes: object) -> pd.DataFrame:
    source = {"dataset": "d", "split": "s"}
    record = {"title": "t", "preparation": {"size": 16, "channels": 1}, "train": source, "validation": source,
              "test": source, "ood": {"noise": {**source, "shift": "noise"}}, "detectors": detectors}  # fmt: skip
    evaluate_outputs(folder, Benchmark.model_validate({**record, **changes}), "bench", "arm", 0)
    return load_predictions(folder).table


def test_every_detector_is_computed_from_what_is_stored(run: Path, data: Path, tmp_path: Path) -> None:
    predict(run, data, tmp_path, requests={**ALL, "passes": registry.passes_of(DETECTORS)})
    table = evaluated(tmp_path, "erm", DETECTORS)
    test = table[table["split"] == "test"]
    assert [name for name in table if name.startswith("score_")] == [
        "score_msp", *(f"score_{name}" for name in registry.names() if name != "msp")
    ]  # fmt: skip
    model, meta, _, _ = load_model(run, "cpu")
    images = normalised_test_images(data, meta)
    with torch.no_grad():
        values = model(images).numpy()
    np.testing.assert_allclose(test["score_msp"], msp.msp(values), atol=1e-6)
    np.testing.assert_allclose(test["score_energy"], energy.energy(values), atol=1e-5)
    moved = perturb(model, images, torch.tensor(meta["std"]), 1000.0, [0.0014])[0]
    np.testing.assert_allclose(test["score_odin"], msp.msp(model(moved).detach().numpy(), 1000.0), atol=1e-7)


def test_the_mahalanobis_step_raises_the_score_of_the_detector_without_a_step(
    run: Path, data: Path, tmp_path: Path
) -> None:
    detectors = {"mahalanobis": {}, "mahalanobis_step": {"grid": [1e-6, 0.0025, 0.02]}}
    predict(run, data, tmp_path, requests={"features": True, "passes": registry.passes_of(detectors)})
    raw = load_outputs(tmp_path, features=True)
    plain = evaluated(tmp_path, "erm", detectors)
    test = plain.loc[plain["split"] == "test", ["score_mahalanobis", "score_mahalanobis_step"]]
    passes = {split: outputs.passes for split, outputs in raw.splits.items()}
    # A step of nothing gives the detector's own score; features are stored in half precision.
    np.testing.assert_allclose(passes["test"]["mahalanobis_e1e-06"][:, 0], test["score_mahalanobis"], rtol=0.03)
    means = [passes["validation"][f"mahalanobis_e{size}"].mean() for size in ("1e-06", "0.0025", "0.02")]
    assert means[1] > means[0]
    chosen = ("1e-06", "0.0025", "0.02")[int(np.argmax(means))]
    assert np.array_equal(test["score_mahalanobis_step"], passes["test"][f"mahalanobis_e{chosen}"][:, 0])


def test_errors_and_calibration_are_in_the_metrics_on_request(run: Path, data: Path, tmp_path: Path) -> None:
    predict(run, data, tmp_path, requests={})
    every = ("classification", "detection", "misclassification", "calibration")
    test = evaluated(tmp_path, "erm", {}, evaluations=every).query("split == 'test'")
    found = read_metrics(tmp_path / "metrics.csv").set_index(["split", "score", "metric"])["value"]
    right = test["label_rank"] == 0
    expected = detection_metrics(test.loc[right, "score_msp"], test.loc[~right, "score_msp"])
    assert found["errors"]["msp"].to_dict() == expected
    assert found["test", "msp", "ece15"] == pytest.approx(found["test", "-", "ece15"], abs=1e-9)
    logits = load_outputs(tmp_path, features=False).splits["test"].logits
    scaled = msp.msp(logits, found["test", "msp_scaled", "temperature"])
    rms = rms_calibration_error(scaled, right)
    assert found["test", "msp_scaled", "rms_calibration_error"] == pytest.approx(rms, abs=1e-9)
    evaluated(tmp_path, "erm", {})
    assert not {"errors"} & set(read_metrics(tmp_path / "metrics.csv")["split"])


def test_same_run_same_bytes_and_no_path_in_them(run: Path, data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        predict(run, data, tmp_path / name)
    for file in ("predictions.parquet", "features.safetensors"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("a", "b"))
        assert first == second
        assert str(tmp_path).encode() not in first
        assert str(data).encode() not in first


def test_the_batch_size_changes_rounding_only(run: Path, data: Path, tmp_path: Path) -> None:
    predict(run, data, tmp_path / "a", batch_size=7)
    predict(run, data, tmp_path / "b", batch_size=500)
    first, second = (load_outputs(tmp_path / name, features=True) for name in "ab")
    for split, outputs in first.splits.items():
        other = second.splits[split]
        np.testing.assert_allclose(outputs.logits, other.logits, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(outputs.features, other.features, rtol=1e-2, atol=1e-3)


def test_a_methods_own_scores_and_skipped_detectors(tmp_path: Path, data: Path) -> None:
    """Generalized ODIN: no affine layer, three scores and one for each step size, a step chosen on validation."""
    run = trained(tmp_path, data, "godin")
    table, facts = predict(run, data, run)
    assert {"godin_h", "godin_h_star", "godin_g"} <= set(facts["native"])
    assert all(f"score_{name}" in table for name in facts["native"])
    fitted = facts["fitted"]["godin"]
    model, meta, method, config = load_model(run, "cpu")
    assert fitted["epsilon"] in config.epsilons
    images = next(image_batches(load_split(data / "test"), meta, torch.device("cpu"), 30)())
    expected = method.scores(model, images, config, fitted)
    for name, values in expected.items():
        np.testing.assert_allclose(table[table["split"] == "test"][f"score_{name}"], values, atol=1e-5)

    # The passes of mahalanobis_step were not asked for.
    joined = evaluated(
        run, "godin", {name: options for name, options in DETECTORS.items() if name != "mahalanobis_step"}
    )
    stored = load_predictions(run)
    of_the_last_layer = {"vim", "react", "ash", "scale", "dice", "residual", "fdbd", "gradnorm"}
    assert set(stored.facts["skipped"]) == of_the_last_layer
    assert "affine" in stored.facts["skipped"]["vim"]
    assert stored.facts["fitted"]["odin"] == {"epsilon": 0.0014}
    assert stored.facts["fitted"]["godin"] == fitted
    assert "score_vim" not in joined
    assert stored.scores[0] == "msp"
    assert list(stored.scores)[-len(facts["native"]) :] == facts["native"]  # after the detectors'


def test_ranks_break_ties_as_argmax() -> None:
    values = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [5.0, 0.0, 0.0]])
    assert label_ranks(values, torch.tensor([0, 1, 0, -1])).tolist() == [0, 1, 2, -1]


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e6, 1e30])
def test_half_precision_keeps_the_relative_error_at_any_scale(scale: float) -> None:
    values = np.abs(np.random.default_rng(0).normal(size=(50, 8))).astype(np.float32) * np.float32(scale)
    values[0] = 0
    half, exponent = half_precision({"a": values, "b": 3 * values})
    for name, exact in (("a", values), ("b", 3 * values)):
        back = np.ldexp(half[name].astype(np.float32), exponent)
        assert half[name].dtype == np.float16
        np.testing.assert_allclose(back, exact, rtol=2**-11)


def test_half_precision_of_nothing_and_of_nan() -> None:
    half, exponent = half_precision({"a": np.zeros((2, 3), np.float32)})
    assert exponent == 0
    assert not half["a"].any()
    with pytest.raises(ReproodError, match="features of the split a are not finite"):
        half_precision({"a": np.full((2, 3), np.nan, np.float32)})


class Wrong(nn.Module):
    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] * (float("nan") if images.max() > 5 else 1)


def test_a_head_that_does_not_give_the_logits_is_rejected() -> None:
    def batches(value: float = 1.0) -> Iterator[Tensor]:
        yield torch.full((3, 1, 2, 2), value)

    with pytest.raises(ReproodError, match="linear_head"):
        forward_pass(Wrong(), (torch.ones(2, 4), torch.zeros(2)), batches)
    right = torch.eye(2, 4), torch.zeros(2)
    assert torch.equal(forward_pass(Wrong(), right, batches).logits, torch.ones(3, 2))
    with pytest.raises(ReproodError, match="not finite"):
        forward_pass(Wrong(), None, lambda: batches(9.0))


class Counted(nn.Module):
    """Logits are twice the features; counts the passes of its backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def features(self, images: Tensor) -> Tensor:
        self.passes += 1
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return 2 * self.features(images)


class Decided(Counted):
    """Says how logits follow from features."""

    def logits_of(self, features: Tensor) -> Tensor:
        return 2 * features


@pytest.mark.parametrize(
    ("network", "keep_features", "passes"),
    [(Counted, True, 6), (Counted, False, 3), (Decided, True, 4), (Decided, False, 4)],  # one pass checks `logits_of`
)
def test_the_backbone_runs_once_where_it_can(network: type[Counted], keep_features: bool, passes: int) -> None:
    parts = [torch.full((2, 1, 2, 2), value) for value in (1.0, 2.0, 3.0)]
    model = network()
    found = forward_pass(model, None, lambda: iter(parts), keep_features=keep_features)
    expected = torch.cat(parts).flatten(1)
    assert torch.equal(found.logits, 2 * expected)
    assert (found.features is not None) == keep_features
    if found.features is not None:
        assert torch.equal(found.features, expected)
    assert model.passes == passes


def test_wrong_logits_of_features_are_rejected() -> None:
    model = Decided()
    model.logits_of = lambda features: 3 * features  # type: ignore[method-assign]
    with pytest.raises(ReproodError, match=r"logits_of\(\) does not give"):
        forward_pass(model, None, lambda: iter([torch.ones(2, 1, 2, 2)]))


def test_unfit_input_is_rejected(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ReproodError, match="test is missing"):
        predict_run(run, {"validation": data / "validation"}, out, device="cpu")
    with pytest.raises(ReproodError, match="no forward pass of kind 'odim'"):
        predict(run, data, out, requests={"passes": {"x": {"kind": "odim", "temperature": 1, "epsilon": 0}}})
    large = np.zeros((4, 20, 20, 1), np.uint8)
    save_split(tmp_path / "large", large, np.full(4, -1), {}, {"name": "large", "classes": []})
    with pytest.raises(ReproodError, match=r"\(20, 20, 1\), the model was trained on \(16, 16, 1\)"):
        predict_run(run, {**splits(data), "large": tmp_path / "large"}, out, device="cpu", threads=1)
    with pytest.raises(ReproodError, match="the model knows 3 classes"):
        predict_run(run, {**splits(data), "test": data / "noise"}, out, device="cpu", threads=1)
    assert not (out / "predictions.parquet").exists()


def test_detectors_need_what_was_requested(run: Path, data: Path, tmp_path: Path) -> None:
    predict(run, data, tmp_path, requests={})
    with pytest.raises(ReproodError, match="holds no features/"):
        evaluated(tmp_path, "erm", {"knn": {}})
    with pytest.raises(ReproodError, match="odin needs logits of perturbed images"):
        evaluated(tmp_path, "erm", {"odin": {}})
    some = {name: path for name, path in splits(data).items() if name != "train"}
    predict_run(run, some, tmp_path, requests=ALL, device="cpu", threads=1)
    with pytest.raises(ReproodError, match="knn needs penultimate features and labels of the training samples"):
        evaluated(tmp_path, "erm", {"knn": {}})
    predict(run, data, tmp_path)
    with pytest.raises(ReproodError, match="k = 97 .*there are 96"):
        evaluated(tmp_path, "erm", {"knn": {"k": 97}})
