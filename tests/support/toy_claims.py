"""Claims on fabricated results, and the settings in which they are made."""

from pathlib import Path

import fabricate

from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit

ROOT = Path(__file__).parents[2]
HERE = [{"dataset": "d", "backbone": {"name": "wrn"}}]
SETTINGS = {"s": HERE[0]}

ERROR = {"metric": "top1_error", "better": "lower"}
AUROC = {"metric": "auroc", "better": "higher", "split": "mean_all"}
PUBLISHED = [
    {
        "id": "a",
        "where": "Table 1",
        "setting": "s",
        "method": "m",
        "metric": "top1_error",
        "value": 8.0,
        "source": "paper",
    },
    {
        "id": "b",
        "where": "Table 1",
        "setting": "s",
        "method": "n",
        "metric": "top1_error",
        "value": 20.0,
        "source": "recalled",
    },
    *(
        {"id": name, "where": "T", "setting": "s", "method": "m", "metric": "auroc", "value": value, "source": "paper"}
        for name, value in (("c", 94.0), ("d", 71.0))
    ),
]


def fabricated(*claims, published=()):
    """A paper's file whose arms are those that its claims name."""
    names = {side["method"] for claim in claims for side in claim["sides"]}
    arms = {name: {"means": name} for name in sorted(names)}
    return {**fabricate.paper(*claims, published=published), "arms": arms, "settings": SETTINGS}


def sides(*pairs):
    return [{"method": m, "score": s} if s else {"method": m} for m, s in pairs]


def row(folder, claim, tmp_path, **changes):
    """The only row of verdicts on a claim."""
    record = Paper.model_validate(fabricated(claim, published=PUBLISHED))
    table = audit(fabricate.suite(**changes), [record], folder, folder / "studies", tmp_path / "verdicts.csv")
    return table.iloc[0]
