"""Glossary of the methods and scores of a report, and the links from names in tables to their entries."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reprood.audit.papers import Paper
from reprood.config.suite import Suite
from reprood.detectors import registry
from reprood.report import labels
from reprood.report.results import BenchmarkResults


@dataclass(frozen=True)
class Entry:
    """An explained name.

    Attributes
    ----------
    anchor : str
        Id on the page.
    label : str
        The name in tables and figures.
    text : str
        One line; may be empty.
    formula : str
        May be empty.
    source, page : str
        Where it was published, and the address of that, or a page of the report; may be empty.
    """

    anchor: str
    label: str
    text: str = ""
    formula: str = ""
    source: str = ""
    page: str = ""


# Scores of methods' own: what they are, formula, paper. Formulas are those of the modules in `reprood.methods`.
OWN: dict[str, tuple[str, str, str]] = {
    "godin_h": ("Largest numerator of the decomposed logits h_i / g.", "max_i h_i(x)", "godin"),
    "godin_h_star": ("The same after an input step of the chosen size.", "max_i h_i(x^)", "godin"),
    "godin_g": ("The denominator of the decomposed logits.", "g(x)", "godin"),
    "hood_cor": ("Largest absolute inner product with the mean features of a class; the paper calls it correlation.",
                "max_c |<f(x), mu_c>|", "hood"),
    "cnc": ("Log-odds against the class K + 1 of outliers.", "log((1 - p) / p), p = softmax(l)_(K+1)", "cnc"),
    "ss": ("Distance of the prediction from uniform minus the loss of rotation prediction.",
           "KL(uniform || softmax(l)) - rotation loss", "ss_ood"),
    "ss_kl": ("Distance of the prediction from uniform alone.", "KL(uniform || softmax(l))", "ss_ood"),
    "ss_rotation": ("Minus the loss of rotation prediction alone.", "-sum over the rotations of the cross-entropy",
                    "ss_ood"),
    "transformations": ("How well the applied transformations are predicted.",
                        "sum over transformations and heads of the softmax probability of the applied value", "ss_ood"),
    "csi": ("Sum of the contrastive score and the shift classifier, over all shifts.", "s_con-SI + s_cls-SI", "csi"),
    "con_si": ("Contrastive score, mean over the shifts.", "mean_S lambda_S s_con(S(x))", "csi"),
    "cls_si": ("Logit of the shift that was applied, mean over the shifts.", "mean_S lambda_S W_S f(S(x))", "csi"),
    "con": ("Cosine to the nearest training image times the norm.", "max_m cos(z(x), z(x_m)) |z(x)|", "csi"),
    "cosine": ("Cosine to the nearest training image, mean over the shifts.", "max_m cos(z(x), z(x_m))", "csi"),
    "norm": ("Norm of the projection, mean over the shifts.", "|z(x)|", "csi"),
    "csi_ens": ("Largest softmax probability of the logits averaged over the rotations.", "max_c softmax(l)_c", "csi"),
    "gaussian": ("Minus the Mahalanobis distance to normal features, covariance shrunk after Ledoit and Wolf (2004).",
                 "-sqrt((f - mu)' Sigma^-1 (f - mu))", "cutpaste"),
    "gaussian_ml": ("The same with the maximum likelihood covariance and a ridge of 1e-6.",
                    "-sqrt((f - mu)' Sigma^-1 (f - mu))", "cutpaste"),
    "kde": ("Log of the mean Gaussian kernel to normal features.", "log mean_m exp(-gamma |f - f_m|^2) / gamma",
            "cutpaste"),
    "proxy": ("The classifier of the proxy task itself.", "log-odds of the class normal", "cutpaste"),
    "goad": ("Log-probability of the applied transformations, from the distances to their centres.",
             "sum over transformations of log p(applied transformation)", "csi"),
    "extra_class": ("Log-odds against the class K + 1 of other outliers than CnC's.",
                    "log((1 - p) / p), p = softmax(l)_(K+1)", "cnc"),
    "msp_scaled": ("Largest softmax probability of logits divided by a temperature, fitted on validation images.",
                   "max_c softmax(l / T)_c", "cnc"),
}  # fmt: skip


def slug(kind: str, name: str) -> str:
    """Return an anchor.

    Examples
    --------
    >>> slug("score", "pytorch_ood.SHE")
    'score-pytorch-ood-she'
    """
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"


def methods(suite: Suite, papers: Sequence[Paper], used: Sequence[str]) -> list[Entry]:
    """Return an entry for each method: the arms of the papers that it stands for, with the first paper as source."""
    found = []
    for name in used:
        arms = [
            (paper, arm.means) for paper in papers for key, arm in paper.arms.items() if name == key or name in arm.also
        ]
        text = "; ".join(dict.fromkeys(f"{means} ({paper.short})" for paper, means in arms))
        source, page = (arms[0][0].title, f"papers/{arms[0][0].id}.html") if arms else ("", "")
        text = text or f"The method {suite.methods[name].use} with settings of this suite."
        found.append(Entry(slug("method", name), suite.methods[name].label, text, "", source, page))
    return found


def scores(used: Sequence[str], papers: Sequence[Paper]) -> list[Entry]:
    """Return an entry for each score: of a detector from its record, of a method's own from `OWN`."""
    known = {paper.id: paper for paper in papers}
    found = []
    for name in used:
        anchor, label = slug("score", name), labels.score(name)
        if name in OWN:
            text, formula, of = OWN[name]
            paper = known.get(of)
            source, page = (paper.title, f"papers/{of}.html") if paper else ("", "")
            found.append(Entry(anchor, label, text, formula, source, page))
        elif name in registry.names():
            record = registry.detector(name)
            source = f"{record.paper.authors}: {record.paper.title}, {record.paper.venue} {record.paper.year}"
            found.append(Entry(anchor, label, "Post-hoc detector.", record.formula, source, record.paper.url))
        else:
            found.append(Entry(anchor, label, "A score that this release of reprood has no record of."))
    return found


def glossary(suite: Suite, papers: Sequence[Paper], results: Sequence[BenchmarkResults]) -> dict[str, list[Entry]]:
    """Return the entries of all methods and scores of a report, by their labels."""
    used = [method for method in suite.methods if any(method in one.methods for one in results)]
    of_runs = (score for one in results if one.detects for method in one.detecting for score in one.scores(method))
    return {
        "methods": methods(suite, papers, used),
        "scores": sorted(scores(list(dict.fromkeys(of_runs)), papers), key=lambda entry: entry.label.lower()),
    }


def explained(entries: Mapping[str, Sequence[Entry]]) -> dict[str, Any]:
    """Return the anchor of every name in tables; a name that is both a method's and a score's leads to the method."""
    return {entry.label: entry.anchor for kind in ("scores", "methods") for entry in entries[kind]}
