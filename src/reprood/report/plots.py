"""The small table that `dvc plots` draws: mean AUROC by benchmark, method and score."""

from pathlib import Path

from reprood.core.files import atomic_path
from reprood.evaluate.table import read_metrics


def write_plots(metrics: Path, out: Path) -> None:
    """Write benchmark, method, score, auroc (mean over seeds of the mean over OOD sets) as CSV."""
    table = read_metrics(metrics)
    chosen = table[(table["metric"] == "auroc") & (table["split"] == "mean_all")]
    chosen = chosen[~chosen["score"].str.contains("_eps_")]
    means = chosen.groupby(["benchmark", "method", "score"], sort=True)["value"].mean().rename("auroc").reset_index()
    with atomic_path(out) as temporary:
        means.to_csv(temporary, index=False, lineterminator="\n", float_format="%.6f")
