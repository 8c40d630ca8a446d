# Add a detector: one file, one line in a suite, no new prediction.
cat > margin.py <<'PY'
import numpy as np

from reprood.detectors.record import Detector, Paper


def margin(logits):
    ordered = np.sort(logits, axis=1)
    return ordered[:, -1] - ordered[:, -2]


DETECTOR = Detector(
    name="margin", label="Margin", paper=Paper("", "", "", 2026, ""), formula="l_(1) - l_(2)", inputs=("logits",),
    score=lambda outputs, fitted, options: margin(outputs.logits),
)
PY
printf 'extends: smoke\ntitle: Mine\nbenchmarks: {smoke_letters: {detectors: {./margin.py: {}}}}\n' > mine.yaml
snakemake --cores 1 --config suite=mine.yaml only=smoke_letters -- results/mine~only-smoke_letters/metrics.parquet > log 2>&1
if grep '^localrule predict' log; then exit 1; fi
grep -q ',margin,auroc,' results/mine~only-smoke_letters/metrics.csv
