"""Names and numbers as readers see them."""

import math

from reprood.audit.explanations import signed
from reprood.detectors import pytorch_ood, registry
from reprood.evaluate.directions import LOCALISATION

METRICS = {
    "top1_error": "top-1 error, %",
    "top5_error": "top-5 error, %",
    "ece15": "calibration error (15 bins), %",
    "rms_calibration_error": "RMS calibration error, %",
    "auroc": "AUROC, %",
    "aupr_in": "AUPR-in (ID positive), %",
    "aupr_out": "AUPR-out (OOD positive), %",
    "fpr95_id_positive": "FPR@95 (ID positive), %",
    "fpr95_ood_positive": "FPR@95 (OOD positive), %",
    "detection_error": "detection error, %",
    "mce": "mCE (corruption error relative to the baseline), %",
    "localisation_error": "localisation error, %",
    "gt_localisation_error": "localisation error with known class, %",
    "localisation_error_minmax": "localisation error, normalised maps, %",
    "gt_localisation_error_minmax": "localisation error with known class, normalised maps, %",
    "pixel_auroc": "pixel AUROC, %",
    "au_pro": "AU-PRO (30 %), %",
    "oscr": "OSCR, %",
    "macro_f": "macro-F, %",
    "mean_iou": "mean overlap (IoU), %",
}
PUBLISHED_METRICS = {
    "tnr95": "TNR at 95 % TPR (ID positive), %",
    "detection_accuracy": "detection accuracy, %",
    "fgsm_accuracy": "accuracy under FGSM, %",
    "localisation_accuracy": "localisation accuracy, %",
    "map": "mean average precision, %",
    "accuracy": "accuracy, %",
    "ece": "expected calibration error, %",
    "diversity": "diversity",
    "entropy": "entropy",
    "ms_per_image": "ms per image",
    "minutes_per_epoch": "minutes per epoch",
    "empty_id_area": "empty area classified as ID",
    "bleu1": "BLEU-1, %",
    "bleu2": "BLEU-2, %",
    "bleu3": "BLEU-3, %",
    "bleu4": "BLEU-4, %",
    "meteor": "METEOR, %",
    "rouge": "ROUGE, %",
    "cider": "CIDEr, %",
}
IN_PERCENT = ("top1_error", "top5_error", "mce", *LOCALISATION)
SPLITS = {
    "mean_all": "mean of all sets",
    "mean_natural": "mean without noise",
    "mean_near": "mean of near sets",
    "mean_far": "mean of far sets",
    "mean_noise": "mean of noise sets",
    "test": "test",
    "errors": "wrong predictions",
}
CONDITIONS = {"corrupted": "corrupted", "attacked": "attacked", "occluded": "occluded", "between": "mixed"}
ATTACKS = {"fgsm": "FGSM", "pgd": "PGD", "cw": "Carlini-Wagner", "autoattack": "AutoAttack"}
SCORES = {  # of methods; those of detectors are in their records
    "godin_h": "DeConf h", "godin_h_star": "DeConf h*", "godin_g": "DeConf g",
    "godin_h_eps_*": "DeConf h, best step size in hindsight", "hood_cor": "COR", "cnc": "outlier class",
    "ss": "KL + rotation", "ss_rotation": "rotation", "ss_kl": "KL", "transformations": "transformations", "csi": "CSI",
    "con_si": "contrastive, all shifts", "cls_si": "shift classifier", "con": "contrastive", "cosine": "cosine",
    "norm": "norm",
    "csi_ens": "CSI-ens", "gaussian": "Gaussian", "gaussian_ml": "Gaussian, ML", "kde": "kernel density",
    "proxy": "proxy task", "goad": "GOAD", "extra_class": "extra class", "msp_scaled": "MSP, temperature-scaled",
}  # fmt: skip


def published_metric(name: str) -> str:
    """Return a published metric's name for readers."""
    return METRICS.get(name) or PUBLISHED_METRICS.get(name) or f"{name.replace('_', ' ')}, %"


def percent(metric: str, value: float) -> float:
    """Return a metric's value in percent; errors are stored in percent, detection metrics in [0, 1]."""
    return value if metric in IN_PERCENT else 100 * value


def number(value: float, digits: int = 1) -> str:
    """Format a value with fixed digits, never as a negative zero; a dash for NaN."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    return f"−{text}" if value < 0 and float(text) else text


def interval(low: float, high: float, digits: int = 1) -> str:
    """Format an interval in brackets; empty for NaN."""
    if math.isnan(low):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def signed_interval(low: float, high: float, digits: int = 1) -> str:
    """Format the interval of a difference with signs, and with a further digit where an end would look like zero.

    Examples
    --------
    >>> signed_interval(-23.9, 60.9), signed_interval(-3.54, -0.01)
    ('[−23.9, +60.9]', '[−3.54, −0.01]')
    """
    if math.isnan(low):
        return ""
    if digits < 3 and any(end and float(f"{end:.{digits}f}") == 0 for end in (low, high)):
        return signed_interval(low, high, digits + 1)
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def _label(name: str) -> str:
    """Return the label of a detector or of a method's own score; "" for an unknown name."""
    return (
        registry.detector(name).label if name in registry.names() else SCORES.get(name, "") or pytorch_ood.label(name)
    )


def score(name: str) -> str:
    """Return a score's name for readers; for a prefix with "*", that of the best in hindsight."""
    return _label(name) or (f"best of {name.rstrip('_*')}" if name.endswith("*") else name)


def attack(name: str) -> str:
    """Return the name of an attack for readers.

    Examples
    --------
    >>> attack("fgsm"), attack("pgd5"), attack("cw")
    ('FGSM', 'PGD, 5 steps', 'Carlini-Wagner')
    """
    steps = name.removeprefix("pgd")
    if name != steps and steps.isdigit():
        return f"PGD, {plural(int(steps), 'step')}"
    return ATTACKS.get(name, name.replace("_", " "))


def split(name: str) -> str:
    """Return a split's name for readers."""
    kind, _, rest = name.partition("/")
    if kind == "attacked" and rest:
        return f"{CONDITIONS[kind]}: {attack(rest)}"
    if kind in CONDITIONS:
        return CONDITIONS[kind] + (f": {rest.replace('/', ', ').replace('_', ' ')}" if rest else "")
    return SPLITS.get(name, name.replace("_", " "))


def part(name: str) -> str:
    """Return the name of a score or a split for readers."""
    return _label(name) or (score(name) if name.endswith("*") else split(name))


def plural(count: int, one: str, many: str = "") -> str:
    """Format a count with its noun: '1 run', '2 runs'."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def worded(number: int) -> str:
    """Return a count up to ten as a word, a larger one in digits."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def count(value: float, one: str) -> str:
    """Format a large count with its noun: '2,400 test images'; empty for 0 and NaN."""
    return "" if math.isnan(value) or value == 0 else f"{int(value):,} {one}{'' if value == 1 else 's'}"
