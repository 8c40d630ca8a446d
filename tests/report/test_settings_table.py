"""Differences between a measurement and the published setting as rows."""

import fabricate

from reprood.audit.settings import Measurement, Setting, texts
from reprood.report.settings_table import NAMED, settings_rows


def test_every_difference_of_a_setting_becomes_a_row():
    benchmark = fabricate.suite().benchmarks["toy"]
    setting = Setting.model_validate(
        {
            "dataset": "cifar10", "test": "svhn", "backbone": {"name": "resnet", "depth": 110}, "family": "f",
            "ood": ["isun"], "auxiliary": ["tiny"], "checkpoint": "best_test", "images": 7, "outlier_classes": 99,
        }
    )  # fmt: skip
    measured = Measurement(benchmark, {"name": "wrn"}, "bf16", substitutes={"d": "D (JPEG copy)"})
    split = next(iter(benchmark.ood))
    rows = settings_rows(texts(setting.differences(measured, split)), {"cifar10": "CIFAR-10"}, "wrn")
    found = {what: (here, paper) for what, here, paper in rows}
    assert "other" not in found, "a clause of another form needs a line in NAMED"
    assert found["training data"][1] == "CIFAR-10"
    assert found["network"] == ("wrn", "resnet depth 110")
    assert found["precision"] == ("bf16", "fp32")
    assert found["OOD sets"][1] == "isun"
    assert found["training images"][1] == "7"
    assert found["substituted data"] == ("D (JPEG copy)", "d")


def test_a_clause_of_an_unknown_form_is_shown_as_it_is():
    assert settings_rows("x; y", {}) == [("other", "x; y", "–")]
    assert settings_rows("", {}) == []
    assert len(NAMED) == len(set(NAMED))
