"""The suite `paper` has the settings that the text of CutPaste states for MVTec AD."""

from pathlib import Path

import pytest
import yaml

from reprood.core.mappings import merged
from reprood.engine.settings import read_settings
from reprood.methods.cutpaste.settings import Config

SUITE = yaml.safe_load((Path(__file__).parents[3] / "config" / "suites" / "mvtec.yaml").read_text(encoding="utf-8"))
ALIGNED = {"bottle", "cable", "capsule", "metal_nut", "pill", "toothbrush", "transistor", "zipper"}  # A.5
MVTEC = SUITE["benchmarks"]["mvtec_defects"]
ARMS, SWEPT = (group["methods"] for group in SUITE["runs"] if group["benchmark"] == "mvtec_defects")


def resolved(arm: str, member: str) -> Config:
    layers = (MVTEC["settings"], MVTEC["members"][member].get("settings", {}), SUITE["methods"][arm].get("set", {}))
    values = merged(*layers)
    values.pop("backbone")
    return read_settings(Config, values, arm)


@pytest.mark.parametrize("member", sorted(MVTEC["members"]))
def test_positions_windows_and_training_images(member: str) -> None:
    assert len(MVTEC["members"]) == 15
    assert "limit" not in MVTEC["members"][member]["train"]  # all images without defects
    for arm, side in (("cutpaste_patch", 64), ("cutpaste_patch_32", 32)):
        config = resolved(arm, member)
        assert (config.crop, config.stride) == (side, 4)
        assert config.positions == ("each" if member in ALIGNED else "shared")
        assert (config.scar_width, config.scar_height) == ((2, 16), (10, 25))


@pytest.mark.parametrize("arm", ARMS)
def test_recipes(arm: str) -> None:
    """Equal in all arms but the transfer, so that a comparison is about the proxy task."""
    config = resolved(arm, "carpet")
    assert {"gaussian", "gaussian_ml"} <= set(config.densities)
    assert config.cam == "density"
    if arm.startswith("cutpaste_transfer"):
        assert SUITE["methods"][arm]["set"]["backbone"] == {"name": "efficientnet", "variant": "b4"}
        assert (config.training.lr, config.head_training.lr) == (1e-4, 0.03)
        assert (config.training.epochs, config.head_training.epochs, config.epoch_images) == (64, 10, 2048)
        assert config.training.batch_size == config.head_training.batch_size == 8  # 24 views
    else:
        assert (config.training, config.epoch_images) == (Config().training, Config().epoch_images)


@pytest.mark.parametrize("arm", SWEPT)
def test_sweeps_change_one_setting(arm: str) -> None:
    """Tables 7 and 8: the name says which value, all else is that of the 3-way task."""
    name, value = arm.removeprefix("cutpaste_").split("_", 1)
    number = float(value.replace("_", "."))
    base, found = resolved("cutpaste_3way", "carpet"), resolved(arm, "carpet")
    expected = {
        "lr": lambda: base.model_copy(update={"training": base.training.model_copy(update={"lr": number})}),
        "epochs": lambda: base.model_copy(
            update={"training": base.training.model_copy(update={"epochs": int(number)})}
        ),
        "jitter": lambda: base.model_copy(update={"patch_jitter": number}),
        "area": lambda: base.model_copy(update={"area": (0.02, number)}),
    }
    assert found == expected[name]()


def test_shapes_are_tested_on_the_networks_of_every_class() -> None:
    shapes = SUITE["benchmarks"]["mvtec_shapes"]
    for key in ("preparation", "train", "validation", "test", "settings"):
        assert shapes[key] == MVTEC[key]
    assert list(shapes["members"]) == list(MVTEC["members"])
    for name, member in shapes["members"].items():
        assert {key: member[key] for key in ("train", "validation", "test")} == {
            key: MVTEC["members"][name][key] for key in ("train", "validation", "test")
        }
        assert {kind["split"] for kind in member["ood"].values()} == {member["test"]["split"]}
        assert member["ood"].keys() == shapes["ood"].keys()
