"""Names and numbers as readers see them; the one place where they are formatted."""

import math

METRICS = {
    "top1_error": "top-1 error, %",
    "top5_error": "top-5 error, %",
    "ece15": "calibration error (15 bins), %",
    "auroc": "AUROC, %",
    "aupr_in": "AUPR-in (ID positive), %",
    "aupr_out": "AUPR-out (OOD positive), %",
    "fpr95_id_positive": "FPR@95 (ID positive), %",
    "fpr95_ood_positive": "FPR@95 (OOD positive), %",
    "detection_error": "detection error, %",
}
IN_PERCENT = ("top1_error", "top5_error")
SPLITS = {
    "mean_all": "mean of all sets",
    "mean_natural": "mean without noise",
    "mean_near": "mean of near sets",
    "mean_far": "mean of far sets",
    "mean_noise": "mean of noise sets",
    "test": "test",
}
SCORES = {
    "msp": "MSP", "maxlogit": "MaxLogit", "energy": "Energy", "odin": "ODIN", "mahalanobis": "Mahalanobis",
    "knn": "KNN", "vim": "ViM", "react": "ReAct", "godin_h": "h", "godin_h_star": "h*", "godin_g": "g",
}  # fmt: skip


def percent(metric: str, value: float) -> float:
    """A metric's value in percent or points: errors are stored so, detection metrics are stored in [0, 1]."""
    return value if metric in IN_PERCENT else 100 * value


def number(value: float, digits: int = 1) -> str:
    """A value with fixed digits; a dash when there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign."""
    if value is None or math.isnan(value):
        return "–"
    return ("+" if value >= 0 else "−") + f"{abs(value):.{digits}f}"


def interval(low: float, high: float, digits: int = 1) -> str:
    """An interval in brackets; empty when there is none."""
    if low is None or math.isnan(low):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def score(name: str) -> str:
    """A score's name for readers."""
    return SCORES.get(name, name)


def split(name: str) -> str:
    """A split's name for readers."""
    return SPLITS.get(name, name.replace("_", " "))


def plural(count: int, one: str, many: str = "") -> str:
    """'1 run', '2 runs'."""
    return f"{count} {one if count == 1 else many or one + 's'}"
