"""Metrics of detection from 1e4 to 1e7 scores, the bootstrap, and evaluate + audit of a whole suite.

Six metrics (AUROC, AUPR twice, FPR at 95 % twice, detection error): the project's kernel sorts once; scikit-learn sorts
again for each. The bootstrap: 1,000 resamplings of 2,000 + 2,000 images by the project, by SciPy, and the plain way.
`--tree` times evaluate and audit of a finished checkout, written to a temporary folder.

Run: python benchmarks/metrics.py [--sizes 10000 1000000] [--repeats N] [--tree FINISHED_CHECKOUT] [--json FILE]
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml
from measure import Row, compare, machine, options_of, parser_of, show
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from reprood.audit.papers import load_papers
from reprood.audit.verdicts import audit
from reprood.config.folders import Folders
from reprood.config.load import load_suite
from reprood.evaluate.metrics import METRICS, detection_metrics
from reprood.evaluate.resample import Scores as RunScores
from reprood.evaluate.resample import replicate_detection
from reprood.evaluate.table import evaluate_run

Scores = tuple[np.ndarray, np.ndarray]


def drawn(count: int, ties: bool = False) -> Scores:
    """Draw half ID and half OOD scores; ties are made by rounding to 256 levels."""
    generator = np.random.default_rng(0)
    scores = generator.normal(1, 1, count // 2), generator.normal(0, 1, count - count // 2)
    return tuple(np.round(32 * part) / 32 for part in scores) if ties else scores  # type: ignore[return-value]


def by_scikit_learn(scores: Scores) -> dict[str, float]:
    """Compute the same six numbers from scikit-learn's curves."""
    first, second = scores
    both = np.concatenate(scores)
    is_id = np.concatenate([np.ones(len(first), int), np.zeros(len(second), int)])
    accepted_ood, accepted_id, _ = roc_curve(is_id, both, drop_intermediate=False)
    rejected_id, rejected_ood, _ = roc_curve(1 - is_id, -both, drop_intermediate=False)
    return {
        "auroc": float(roc_auc_score(is_id, both)),
        "aupr_in": float(average_precision_score(is_id, both)),
        "aupr_out": float(average_precision_score(1 - is_id, -both)),
        "fpr95_id_positive": float(accepted_ood[np.argmax(accepted_id >= 0.95)]),
        "fpr95_ood_positive": float(rejected_id[np.argmax(rejected_ood >= 0.95)]),
        "detection_error": float(0.5 * (1 - (accepted_id - accepted_ood).max())),
    }


def kernel(count: int, ties: bool, repeats: int, peers: dict[str, Callable[[Scores], float]]) -> list[Row]:
    """Compute all six metrics of one pair of samples."""
    scores = drawn(count, ties)
    theirs, ours = by_scikit_learn(scores), detection_metrics(*scores)
    worst = max(abs(theirs[name] - ours[name]) for name in METRICS)
    if worst > 1e-9:
        raise RuntimeError(f"the two ways differ by {worst}")

    def counted(function: Callable[[Scores], object]) -> Callable[[], int]:
        return lambda: 0 if function(scores) is None else count

    ways = {
        "scikit-learn, six metrics": counted(by_scikit_learn),
        "reprood, six metrics": counted(lambda pair: detection_metrics(*pair)),
        "scikit-learn, AUROC alone": counted(
            lambda pair: roc_auc_score(np.repeat([1, 0], [len(pair[0]), len(pair[1])]), np.concatenate(pair))
        ),
        "reprood, AUROC alone": counted(lambda pair: detection_metrics(*pair, names=("auroc",))),
        **{name: counted(function) for name, function in peers.items()},
    }
    return compare(f"{count:.0e} scores{', 256 levels' if ties else ''}", ways, repeats)


def peers() -> dict[str, Callable[[Scores], float]]:
    """Return other installed libraries that compute these numbers: pytorch-ood, torchmetrics (not required)."""
    found: dict[str, Callable[[Scores], float]] = {}
    try:
        import torch
        from pytorch_ood.metrics import OODMetrics

        def by_pytorch_ood(scores: Scores) -> float:
            meter = OODMetrics()
            meter.update(
                -torch.from_numpy(np.concatenate(scores)),
                torch.from_numpy(np.repeat([0, -1], [len(scores[0]), len(scores[1])])),
            )
            return float(meter.compute()["AUROC"])

        found["pytorch-ood, four metrics"] = by_pytorch_ood
    except ImportError as error:
        print(f"pytorch-ood is left out: {error}")
    return found


def bootstrap(images: int, replicates: int, plain: int, repeats: int) -> list[Row]:
    """Resample AUROCs; the slow ways do only `plain` resamplings."""
    scores = drawn(2 * images)

    def resampled(function: Callable[[np.ndarray, np.ndarray], float]) -> int:
        generator = np.random.default_rng(0)
        for _ in range(plain):
            first, second = (generator.choice(part, len(part)) for part in scores)
            function(first, second)
        return plain

    def by_sklearn(first: np.ndarray, second: np.ndarray) -> float:
        return float(roc_auc_score(np.repeat([1, 0], [len(first), len(second)]), np.concatenate([first, second])))

    def by_scipy() -> int:
        stats.bootstrap(
            scores, by_sklearn, n_resamples=plain, vectorized=False, method="percentile", rng=np.random.default_rng(0)
        )
        return plain

    def ours(metrics: tuple[str, ...]) -> Callable[[], int]:
        def run() -> int:
            arm = [RunScores(scores[0], {"ood": scores[1]})]
            for metric in metrics:
                replicate_detection([arm], metric, np.random.default_rng(0), replicates)
            return replicates

        return run

    plainly = by_sklearn(*(np.random.default_rng(0).choice(part, len(part)) for part in scores))
    if not 0.5 < plainly < 1:
        raise RuntimeError("the plain way does not work")
    ways = {
        "plain loop, scikit-learn": lambda: resampled(by_sklearn),
        "scipy.stats.bootstrap": by_scipy,
        "reprood, AUROC": ours(("auroc",)),
        "reprood, six metrics": ours(tuple(METRICS)),
    }
    return compare(f"bootstrap of {images:,} + {images:,} scores", ways, repeats)


def suite(tree: Path) -> dict[str, float]:
    """Return CPU seconds of evaluate (all runs) and audit of a finished checkout's default suite, in one process.

    In one process, without imports, which `workflow.py` measures.
    """
    settings = yaml.safe_load((tree / "config" / "config.yaml").read_text(encoding="utf-8"))
    chosen = load_suite(settings["suite"], tree)
    papers = load_papers(sorted((tree / "config" / "papers").glob("*.yaml")))
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "runs").symlink_to((tree / "runs").resolve())
        chosen = chosen.model_copy(update={"folders": Folders(evaluated="results/again/runs")})
        stored = tree / "results" / Path(settings["suite"]).stem
        started = time.process_time()
        for number, (benchmark, method, seed) in enumerate(chosen.jobs(), 1):
            place = f"{benchmark}/{method}/{seed}"
            out, scores = root / "results" / "again" / "runs" / place, stored / "runs" / place
            out.mkdir(parents=True)
            (out / "scores.parquet").symlink_to((scores / "scores.parquet").resolve())
            record = chosen.benchmarks[benchmark]
            evaluate_run(tree / "runs" / place, record, benchmark, method, seed, out / "metrics.csv", scores)
            spent["runs"] = number
        spent["evaluate"] = time.process_time() - started
        started = time.process_time()
        table = audit(chosen, papers, root, stored / "studies", root / "verdicts.csv")
        spent["audit"] = time.process_time() - started
        spent["verdicts"] = len(table)
    return spent


def main() -> None:
    parser = parser_of(__doc__ or "", repeats=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--tree", type=Path)
    options = options_of(parser)
    others = peers()
    rows = []
    for size in options.sizes:
        rows += kernel(size, False, 1 if size > 10**6 else options.repeats, others if size <= 10**6 else {})
    rows += kernel(options.sizes[0] * 10, True, options.repeats, others)
    rows += bootstrap(2000, options.replicates, max(2, options.replicates // 20), options.repeats)
    show(rows, None, "scores or replicates")
    measured = suite(options.tree) if options.tree is not None else {}
    for key, value in measured.items():
        print(f"{key}: {value:.1f}")
    if options.json is not None:
        content = {"machine": machine(), "rows": [asdict(row) for row in rows], "suite": measured}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
