"""A paper on the fabricated benchmark, and what its report is made from."""

from pathlib import Path

import fabricate

from reprood.audit.papers import Paper
from reprood.report.contents import figures_of

DEFECTS = Path(__file__).parents[2] / "config" / "defects.yaml"
KINDS = figures_of(fabricate.suite().benchmarks["toy"])
CLAIMS = [
    {"metric": "top1_error", "better": "lower", "kind": "difference", "sides": [{"method": "good"}, {"method": "erm"}]},
    {"metric": "auroc", "better": "higher", "split": "mean_all", "kind": "difference",
     "sides": [{"method": "good", "score": "msp"}, {"method": "erm", "score": "msp"}],
     "note": "<script>alert(1)</script>"},
]  # fmt: skip
NUMBERS = [
    {"id": "a", "metric": "top1_error", "value": 9.0, "measured_by": "good", "source": "paper"},
    {"id": "b", "metric": "auroc", "value": 94.0, "measured_by": "good", "score": "msp", "split": "mean_all",
     "source": "recalled"},
    {"id": "c", "metric": "tnr95", "value": 50.0, "measured_by": "good", "score": "msp", "split": "near_set",
     "source": "paper"},
    {"id": "d", "metric": "fgsm_accuracy", "value": 8.2, "source": "paper"},
    {"id": "e", "metric": "auroc", "value": 1.0, "measured_by": "good", "score": "msp", "split": "elsewhere",
     "source": "issue"},
]  # fmt: skip
PAPER = Paper.model_validate(
    {
        **fabricate.paper(*CLAIMS),
        "arms": {"good": {"means": "ours"}, "erm": {"means": "baseline"}},
        "settings": {"s": {"dataset": "d", "backbone": {"name": "wrn"}}},
        "published": [{"where": "Table 1", "setting": "s", "method": "m", **number} for number in NUMBERS],
    }
)
