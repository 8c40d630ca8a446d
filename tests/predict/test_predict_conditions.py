"""A trained model under changed conditions: the right rows, the right images, the same answers again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from reprood.config.perturbations import Corruptions
from reprood.core.errors import ReproodError
from reprood.core.files import write_json
from reprood.data.arrays import load_split, save_split
from reprood.data.corrupt import make_corrupted
from reprood.engine.seeds import seeded
from reprood.methods import erm
from reprood.nets import wrn
from reprood.predict.between import partners
from reprood.predict.run import predict_run

COUNT = 40
REQUESTS = {
    "evaluations": ["classification", "corruption", "adversarial", "occlusion", "between", "localisation"],
    "corruption": {"names": ["contrast", "brightness"], "severities": [1, 5], "limit": 30},
    "attacks": {"none": {"eps": 0.0, "steps": 1, "limit": 20}, "strong": {"eps": 0.3, "step": 0.05, "limit": 20}},
    "occlusion": {"sides": [1, 4, 16], "where": ["center", "boundary"], "limit": 25},
    "between": {"kinds": ["mixup", "cutmix"], "shares": [1, 50, 99], "limit": 25},
    "localisation": {"threshold": 0.15},
}

CORRUPTED = Corruptions.model_validate(REQUESTS["corruption"]).model_dump(exclude={"baseline", "frost"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store an untrained network of three classes, and data for it."""
    path = tmp_path_factory.mktemp("conditions")
    random = np.random.default_rng(3)
    for split in ("validation", "test"):
        images = random.integers(0, 256, (COUNT, 16, 16, 1), dtype=np.uint8)
        boxes = np.tile(np.array([2, 3, 9, 12]), (COUNT, 1))
        labels = np.arange(COUNT) % 3
        save_split(path / split, images, labels, {"boxes": boxes}, {"name": "d", "classes": ["a", "b", "c"]})
    make_corrupted(path / "test", path / "corrupted", **CORRUPTED)
    backbone = {"name": "wrn", "depth": 10, "width": 0.5}
    with seeded(1):
        model = erm.build(erm.Config(), wrn.build(1, depth=10, width=0.5), 3)
    run = path / "run"
    run.mkdir()
    save_file(model.state_dict(), run / "model.safetensors")
    record = {
        "benchmark": "b", "method": "erm", "seed": 0, "use": "erm", "settings": {}, "backbone": backbone,
        "channels": 1, "size": 16, "classes": 3, "mean": [0.5], "std": [0.3],
    }  # fmt: skip
    write_json(run / "model.json", record)
    return path


def test_photographs_of_frost_are_read_and_recorded(folder: Path, tmp_path: Path) -> None:
    white = np.full((3, 16, 16, 1), 255, np.uint8)
    save_split(tmp_path / "frost", white, np.full(3, -1), {}, {"name": "frost", "classes": []})
    options = {"names": ["frost"], "severities": [1], "limit": 8}
    for name, frost in (("drawn", None), ("photographs", tmp_path / "frost")):
        make_corrupted(folder / "test", tmp_path / name, frost=frost, **options)
    drawn, photographs = (load_split(tmp_path / name) for name in ("drawn", "photographs"))
    original = load_split(folder / "test").images[:8].astype(int)
    assert np.array_equal(photographs.images, np.minimum(original + 51, 255))  # x + 0.2 of white at severity 1
    assert not np.array_equal(drawn.images, photographs.images)
    assert drawn.meta["frost"] == "drawn"
    assert photographs.meta["frost"] == load_split(tmp_path / "frost").meta["content"]


def splits(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("validation", "test", "corrupted")}


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    predict_run(folder / "run", splits(folder), folder, requests=REQUESTS, device="cpu", threads=1)
    return pq.read_table(folder / "predictions.parquet").to_pandas()


def test_every_condition_has_its_rows(table: pd.DataFrame) -> None:
    counts = table.groupby("split", sort=False).size().to_dict()
    assert counts == {
        "validation": COUNT, "test": COUNT,
        **{f"corrupted/{name}/{severity}": 30 for name in ("contrast", "brightness") for severity in (1, 5)},
        "attacked/none": 20, "attacked/strong": 20,
        **{f"occluded/{where}/{side}": 25 for where in ("center", "boundary") for side in (1, 4, 16)},
        **{f"between/{kind}/{share}": 25 for kind in ("mixup", "cutmix") for share in (1, 50, 99)},
    }  # fmt: skip
    labels = np.arange(COUNT) % 3
    for split, rows in table.groupby("split"):
        assert list(rows["row"]) == list(range(len(rows)))
        assert list(rows["label"]) == list(labels[: len(rows)]), split


def test_conditions_have_logits_too(table: pd.DataFrame) -> None:
    logits = np.stack(table["logits"])
    assert logits.shape == (len(table), 3)
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) == table["prediction"]).all()
    alone = table[~table["split"].str.startswith("between/")]
    assert ((alone["label_rank"] == 0) == (alone["prediction"] == alone["label"])).all()


def test_of_two_mixed_images_either_label_is_right(table: pd.DataFrame) -> None:
    other = partners(25, "b").numpy()
    assert sorted(other) == list(range(25))
    labels = np.arange(25) % 3
    for split, rows in table[table["split"].str.startswith("between/")].groupby("split"):
        right = (rows["prediction"] == labels) | (rows["prediction"] == labels[other])
        assert ((rows["label_rank"] == 0) == right).all(), split
    clean = np.array(answers(table, "test")[:25])
    assert answers(table, "between/mixup/1") == list(clean)  # 1 % of the other image changes no answer here
    assert answers(table, "between/cutmix/99") == list(clean[other])  # the rounded square covers all 16 x 16 pixels


def answers(table: pd.DataFrame, split: str) -> list[int]:
    return table.loc[table["split"] == split, "prediction"].tolist()


def test_conditions_that_change_nothing_give_the_clean_answers(table: pd.DataFrame) -> None:
    clean = answers(table, "test")
    assert answers(table, "attacked/none") == clean[:20]
    assert answers(table, "occluded/boundary/16") == clean[:25]


def test_conditions_that_hide_everything_give_one_answer(table: pd.DataFrame) -> None:
    assert len(set(answers(table, "occluded/center/16"))) == 1


def test_an_attack_raises_the_error(table: pd.DataFrame) -> None:
    def wrong(split: str) -> int:
        return int((table.loc[table["split"] == split, "label_rank"].head(20) > 0).sum())

    assert wrong("attacked/strong") > wrong("test")


def test_boxes_are_stored_for_test_rows_only(table: pd.DataFrame) -> None:
    test = table["split"] == "test"
    for name in ("box", "cam", "cam_true", "cam_minmax", "cam_true_minmax"):
        columns = [f"{name}_{end}" for end in ("x0", "y0", "x1", "y1")]
        assert table.loc[~test, columns].isna().all().all()
        boxes = table.loc[test, columns].to_numpy()
        assert ((boxes >= 0) & (boxes <= 16)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert table.loc[test, ["box_x0", "box_y1"]].to_numpy().tolist() == [[2, 12]] * COUNT


def test_the_same_again_gives_the_same_bytes(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    predict_run(folder / "run", splits(folder), tmp_path, requests=REQUESTS, device="cpu", threads=1)
    assert (tmp_path / "predictions.parquet").read_bytes() == (folder / "predictions.parquet").read_bytes()


def test_corrupted_copies_stand_in_order(folder: Path) -> None:
    split = load_split(folder / "corrupted")
    clean = load_split(folder / "test")
    assert split.meta["corruptions"] == ["contrast", "brightness"]
    assert len(split) == 2 * 2 * 30
    assert (split.labels == clean.labels[split.extras["row"]]).all()
    distance = {
        (name, severity): np.abs(
            split.images[chosen].astype(int) - clean.images[split.extras["row"][chosen]].astype(int)
        ).mean()
        for i, name in enumerate(split.meta["corruptions"])
        for severity in (1, 5)
        for chosen in [(split.extras["corruption"] == i) & (split.extras["severity"] == severity)]
    }
    assert 0 < distance["contrast", 1] < distance["contrast", 5]
    assert 0 < distance["brightness", 1] < distance["brightness", 5]


def test_corrupted_copies_are_the_same_again(folder: Path, tmp_path: Path) -> None:
    make_corrupted(folder / "test", tmp_path, **CORRUPTED)
    for name in ("images.npy", "labels.npy", "extras.npz", "meta.json"):
        assert (tmp_path / name).read_bytes() == (folder / "corrupted" / name).read_bytes()


def test_copies_of_another_recipe_are_rejected(folder: Path, tmp_path: Path) -> None:
    requests = {**REQUESTS, "corruption": {"names": ["fog"], "severities": [1]}}
    with pytest.raises(ReproodError, match="create it again"):
        predict_run(folder / "run", splits(folder), tmp_path / "p", requests=requests, device="cpu", threads=1)
    without = {name: path for name, path in splits(folder).items() if name != "corrupted"}
    with pytest.raises(ReproodError, match="none are given; run the data stage"):
        predict_run(folder / "run", without, tmp_path / "p", requests=REQUESTS, device="cpu", threads=1)
    assert not (tmp_path / "p").exists()


def test_a_test_set_without_boxes_is_rejected(folder: Path, tmp_path: Path) -> None:
    split = load_split(folder / "test")
    save_split(tmp_path / "test", np.array(split.images), split.labels, {}, {"name": "d", "classes": ["a", "b", "c"]})
    with pytest.raises(ReproodError, match="has no boxes"):
        predict_run(
            folder / "run",
            {"validation": folder / "validation", "test": tmp_path / "test"},
            tmp_path / "p",
            requests={"evaluations": ["localisation"], "localisation": {"threshold": 0.15}},
            device="cpu",
            threads=1,
        )


def test_logits_are_computed_with_the_suites_normalisation(folder: Path, table: pd.DataFrame) -> None:
    """The same images through the model by hand."""
    from reprood.train.run import load_model

    model, *_ = load_model(folder / "run", "cpu")
    images = torch.from_numpy(np.array(load_split(folder / "test").images[:, :, :, 0])).float()[:, None] / 255
    with torch.no_grad():
        logits: Tensor = model((images - 0.5) / 0.3)
    assert logits.argmax(1).tolist() == answers(table, "test")
