"""The releases in `published/` are whole and signed, and their numbers follow from their predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reprood.core.files import read_json
from reprood.evaluate.table import evaluate_run, read_metrics
from reprood.publish.contents import SIGNATURE, SUITE, suite_record
from reprood.publish.rerun import choose
from reprood.publish.seal import check_signature, differences, read_sums, sums_of
from reprood.publish.verify import same_numbers

PUBLISHED = Path(__file__).parents[2] / "published"
RELEASES = sorted(path.parent for path in PUBLISHED.glob(f"*/{SIGNATURE}"))
ORDER = ["split", "score", "metric"]


def test_there_is_one_and_the_page_names_all():
    assert RELEASES
    told = (PUBLISHED / "README.md").read_text()
    assert all(f"[`{folder.name}`]({folder.name})" in told for folder in RELEASES)


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_a_release_is_whole_signed_and_small(folder):
    assert differences(read_sums(folder), sums_of(folder)) == []
    holds, said = check_signature(folder, PUBLISHED / "allowed_signers")
    assert holds, said
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60e6
    assert not {".safetensors", ".npy", ".npz", ".png", ".jpg"} & {path.suffix for path in files}


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_metrics_follow_from_predictions(folder, tmp_path):
    """Some runs here; `reprood verify` does all, and verdicts, tables and pages."""
    _, suite = suite_record(read_json(folder / SUITE))
    table = pd.read_parquet(folder / "results" / "metrics.parquet")
    for benchmark, method, seed in choose(folder, 6, np.random.default_rng(0)):
        run = folder / "runs" / benchmark / method / str(seed)
        out = tmp_path / "metrics.csv"
        evaluate_run(run / "predictions.parquet", suite.benchmarks[benchmark], benchmark, method, seed, out)
        computed, stated = (
            read_metrics(path).sort_values(ORDER, ignore_index=True) for path in (out, run / "metrics.csv")
        )
        assert same_numbers(computed, stated), run
        rows = table[(table["benchmark"] == benchmark) & (table["method"] == method) & (table["seed"] == seed)]
        assert set(stated["value"].round(9)) <= set(rows["value"].round(9)), run
