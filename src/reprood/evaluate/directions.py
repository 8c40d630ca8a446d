"""Which values of a metric are better."""

LOCALISATION = (
    "localisation_error",
    "gt_localisation_error",
    "localisation_error_minmax",
    "gt_localisation_error_minmax",
)
LOWER_IS_BETTER = frozenset(
    {
        "top1_error",
        "top5_error",
        "mce",
        "ece15",
        "rms_calibration_error",
        "fpr95_id_positive",
        "fpr95_ood_positive",
        "detection_error",
        *LOCALISATION,
    }
)


def lower_is_better(metric: str) -> bool:
    """Return whether lower values of a metric of the evaluate stage are better.

    Examples
    --------
    >>> lower_is_better("fpr95_id_positive"), lower_is_better("auroc")
    (True, False)
    """
    return metric in LOWER_IS_BETTER
