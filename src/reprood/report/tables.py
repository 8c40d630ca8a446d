"""The tables of a benchmark and of a paper."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from reprood.core.errors import ReproodError
from reprood.evaluate.directions import LOCALISATION
from reprood.report import labels
from reprood.report.contents import TABLES, resolve
from reprood.report.formats import Cell, Table, measured, plain, write_forms
from reprood.report.groups import grouped
from reprood.report.results import BenchmarkResults
from reprood.report.studies.numbers import text

GROUPED = (
    "Letters: methods that share a letter do not differ significantly with that score (Holm-corrected over the pairs "
    "of methods with the score, see the leaderboard); no letters if there are too few replicates."
)


def classification(results: BenchmarkResults) -> Table:
    """Make the table of top-1 error (last epoch, with interval), best-epoch error, top-5 error and calibration."""
    rows = []
    for method in results.methods:
        _, best = results.recorded_error(method, "test_error")
        rows.append(
            (
                Cell(results.label(method)),
                measured("top1_error", results.error_interval(method)),
                Cell(labels.number(best), "", best),
                plain("top5_error", results.values(method, "top5_error").tolist()),
                plain("ece15", results.values(method, "ece15").tolist()),
                Cell(str(len(results.seeds(method))), "", float(len(results.seeds(method)))),
            )
        )
    head = (
        "method", labels.METRICS["top1_error"], "top-1 error at the best recorded test epoch, %",
        labels.METRICS["top5_error"], labels.METRICS["ece15"], "replicates",
    )  # fmt: skip
    caption = (
        "Classification of in-distribution test images, mean over replicates, 95 % intervals over "
        f"{results.benchmark.covers}. "
        "Results are from the last epoch; the best test epoch, which some papers report, is shown for comparison and "
        "never used."
    )
    return Table("classification", caption, head, tuple(rows))


def detection(results: BenchmarkResults) -> Table:
    """Make the table of detection by method and score: AUROC with interval, both FPR@95 conventions, AUROC per set."""
    natural = results.natural
    groups = _groups(results)
    rows = []
    for method in results.methods:
        if not results.passed(method):
            rows.append(
                (Cell(results.label(method)), Cell("accuracy gate failed"), *(Cell("–"),) * 5, *_blanks(results))
            )
            continue
        if not results.scores(method):  # of runs that a compact release holds for their errors alone
            rows.append((Cell(results.label(method)), Cell("no score stored"), *(Cell("–"),) * 5, *_blanks(results)))
        for score in results.scores(method):
            rows.append(
                (
                    Cell(results.label(method)),
                    Cell(labels.score(score) + _replicates(results, method, score)),
                    measured(
                        "auroc",
                        results.detection_interval(method, "auroc", natural, score),
                        groups.get((method, score), ""),
                    ),
                    plain("auroc", results.values(method, "auroc", "mean_all", score).tolist()),
                    plain("fpr95_id_positive", results.values(method, "fpr95_id_positive", natural, score).tolist()),
                    plain("fpr95_ood_positive", results.values(method, "fpr95_ood_positive", natural, score).tolist()),
                    plain("aupr_out", results.values(method, "aupr_out", natural, score).tolist()),
                    *(
                        plain("auroc", results.values(method, "auroc", n, score).tolist())
                        for n in results.benchmark.ood
                    ),
                )
            )
    where = results.where(natural)
    head = (
        "method", "score", f"AUROC, %, {where}", "AUROC, %, mean of all sets", f"FPR@95 (ID positive), %, {where}",
        f"FPR@95 (OOD positive), %, {where}", f"AUPR-out (OOD positive), %, {where}",
        *(f"AUROC, %, {labels.split(name)} ({outlier.shift})" for name, outlier in results.benchmark.ood.items()),
    )  # fmt: skip
    caption = (
        f"Detection of OOD images, mean over replicates, 95 % intervals over {results.benchmark.covers}. FPR@95 "
        "(ID positive): "
        "share of OOD images accepted when 95 % of ID images are; (OOD positive): share of ID images rejected when "
        "95 % of OOD images are. "
        f"AUPR depends on the ratio of ID to OOD images. {GROUPED}"
    )
    return Table("detection", caption, head, tuple(rows))


def _blanks(results: BenchmarkResults) -> tuple[Cell, ...]:
    return (Cell("–"),) * len(results.benchmark.ood)


def _replicates(results: BenchmarkResults, method: str, score: str) -> str:
    """Return how many replicates a score has, if it is not stored for all; they alone enter the numbers."""
    found, every = len(results.sampled(method, score)), len(results.seeds(method))
    return f" ({found} of {every} replicates)" if found < every else ""


def _groups(results: BenchmarkResults) -> dict[tuple[str, str], str]:
    """Return group letters for each method and score: methods that do not differ significantly share a letter."""
    found: dict[tuple[str, str], str] = {}
    for score in dict.fromkeys(s for m in results.detecting for s in results.scores(m)):
        methods = [method for method in results.detecting if score in results.scores(method)]
        values = [results.detection_replicates(method, "auroc", results.natural, score) for method in methods]
        order = sorted(range(len(methods)), key=lambda row, at=values: (-float(at[row].observed[0].mean()), row))  # type: ignore[misc]
        seeds = [results.sampled(methods[row], score) for row in order] if results.paired else None
        letters = grouped([values[row] for row in order], seeds).letters
        found |= {(methods[row], score): text for row, text in zip(order, letters, strict=True)}
    return found


def matrix(results: BenchmarkResults) -> Table:
    """Make the matrix of AUROC by method (rows) and score (columns), with the best method of each score marked."""
    split = results.natural
    scores = list(dict.fromkeys(s for m in results.detecting for s in results.scores(m)))
    groups = _groups(results)
    cells = {
        (method, score): measured(
            "auroc", results.detection_interval(method, "auroc", split, score), groups[method, score]
        )
        for method in results.detecting
        for score in results.scores(method)
    }
    for (method, score), cell in cells.items():
        cells[method, score] = replace(cell, interval=cell.interval + _replicates(results, method, score))
    for score in scores:
        best = max((key for key in cells if key[1] == score), key=lambda key: cells[key].value or 0.0)
        cells[best] = replace(cells[best], best=True)
    rows = tuple(
        (Cell(results.label(method)), *(cells.get((method, score), Cell("–")) for score in scores))
        for method in results.detecting
    )
    caption = (
        f"AUROC, %, {results.where(split)}: every method by every score, mean over replicates, 95 % intervals over "
        f"{results.benchmark.covers}. Bold: the highest value of a score. A dash: the score does not apply to the "
        "network. "
        f"{GROUPED}"
    )
    return Table("matrix", caption, ("method", *(labels.score(score) for score in scores)), rows)


def localisation(results: BenchmarkResults) -> Table:
    """Make the table of localisation by class activation maps: both errors with intervals, mean overlap."""
    rows = []
    for method in results.methods:
        cells = [Cell(results.label(method))]
        for metric in LOCALISATION:
            cells.append(measured(metric, results.localisation_interval(method, metric)))
        iou = 100 * float(results.values(method, "mean_iou").mean())
        rows.append((*cells, Cell(labels.number(iou), "", iou, metric="mean_iou")))
    head = ("method", *(labels.METRICS[metric] for metric in LOCALISATION), "mean IoU, %")
    threshold = results.benchmark.localisation.threshold
    caption = (
        "Weakly supervised localisation: the box of the class activation map against the true box. Localisation "
        "error: wrong class, or overlap (IoU) of at most 50 %; with known class: the map of the right class. Boxes "
        f"surround the largest region of at least {100 * threshold:g} % of the map's maximum (in the paper: 15 %), or "
        "of its range after normalisation to [0, 1] (later code of the same authors). "
        f"Mean over replicates, 95 % intervals over {results.benchmark.covers}."
    )
    return Table("localisation", caption, head, tuple(rows))


def segmentation(results: BenchmarkResults) -> Table:
    """Make the table of pixel AUROC and AU-PRO of every method with anomaly maps, with intervals."""
    rows = [
        (
            Cell(results.label(method)),
            *(measured(metric, results.segmentation_interval(method, metric)) for metric in ("pixel_auroc", "au_pro")),
        )
        for method in results.mapping()
    ]
    caption = (
        "Anomaly maps compared with masks, over all pixels of all test images. AU-PRO: mean fraction of each defect's "
        "pixels that is detected, integrated over false positive rates up to 30 % and divided by 30 %. Mean over "
        f"replicates, 95 % intervals over {results.benchmark.covers}. Methods without maps are omitted."
    )
    head = ("method", labels.METRICS["pixel_auroc"], labels.METRICS["au_pro"])
    return Table("segmentation", caption, head, tuple(rows))


def open_set(results: BenchmarkResults) -> Table:
    """Make the table of closed-set accuracy, AUROC, OSCR and macro-F by score and set of unknown classes."""
    rows = []
    for method in results.methods:
        accuracy = 100 - float(results.values(method, "top1_error").mean())
        for score in results.scores(method) if results.passed(method) else ():
            for name in results.benchmark.ood:
                found = {m: results.values(method, m, name, score).tolist() for m in ("auroc", "oscr", "macro_f")}
                cells = [plain(metric, values) for metric, values in found.items()]
                rows.append(
                    (
                        Cell(results.label(method)),
                        Cell(labels.score(score) + _replicates(results, method, score)),
                        Cell(labels.split(name)),
                        Cell(labels.number(accuracy), "", accuracy),
                        *cells,
                    )
                )
    head = ("method", "score", "unknown classes", "closed-set accuracy, %", *(labels.METRICS[m] for m in (
        "auroc", "oscr", "macro_f")))  # fmt: skip
    caption = (
        "Open-set recognition, mean over replicates. OSCR: area under the rate of correctly classified known "
        "images over "
        "the rate of accepted unknown ones. Macro-F: mean F1 of the known classes and of 'unknown' at the threshold "
        "set by the benchmark, for scores that are probabilities."
    )
    return Table("open_set", caption, head, tuple(rows))


def study_table(values: pd.DataFrame, title: str, names: tuple[dict[str, str], dict[str, str]] = ({}, {})) -> Table:
    """Make the table of a study: one row per arm, one column per metric; mean over replicates, lowest to highest.

    If most arms have no value of most metrics, it has one row per arm and metric. `names` are those of arms and metrics
    for readers.
    """
    arms, metrics = values["arm"].unique(), list(values["metric"].unique())
    keys = dict.fromkeys(zip(values["arm"].astype(str), values["metric"].astype(str), strict=True))
    grouped_values = values.groupby(["arm", "metric"])["value"]
    found = {key: grouped_values.get_group(key).to_numpy() for key in keys}

    def named(kind: int, name: str) -> str:
        return names[kind].get(name, name.replace("_", " "))

    def cell(arm: str, metric: str) -> Cell:
        if (arm, metric) not in found:
            return Cell("–")
        numbers = found[arm, metric]
        low, mean, high = (text(float(value)) for value in (numbers.min(), numbers.mean(), numbers.max()))
        return Cell(mean, f"{low} to {high}" if low != high else "", float(numbers.mean()))

    caption = f"{title}: mean over replicates, with the lowest and highest value."
    if 2 * len(found) < len(arms) * len(metrics):
        long = tuple((Cell(named(0, arm)), Cell(named(1, metric)), cell(arm, metric)) for arm, metric in found)
        return Table("study", caption, ("arm", "metric", "value"), long)
    rows = tuple((Cell(named(0, arm)), *(cell(arm, metric) for metric in metrics)) for arm in arms)
    return Table("study", caption, ("arm", *(named(1, metric) for metric in metrics)), rows)


def make_table(kind: str, results: BenchmarkResults) -> Table:
    """Make one table of a benchmark.

    Parameters
    ----------
    kind : str
        Name of a type in `reprood.report.contents.TABLES`.
    results : BenchmarkResults
        Results of the benchmark.

    Raises
    ------
    ReproodError
        If there is no such type; the message lists the known ones.
    """
    types = {one.name: one for one in TABLES}
    if kind not in types:
        raise ReproodError(f"There is no table '{kind}'; known: {', '.join(types)}.")
    table: Table = resolve(types[kind].make)(results)
    return table


def write_table(kind: str, results: BenchmarkResults, stem: Path) -> None:
    """Write one table of a benchmark as `<stem>.csv`, `.md` and `.tex`; see `make_table`."""
    write_forms(make_table(kind, results), stem)
