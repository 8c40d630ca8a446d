"""The looks of a sequential audit."""

from reprood.config.records import Record


class Looks(Record):
    """Numbers of replicates at which a suite's claims are judged, and the share of the level spent on each."""

    looks: tuple[int, ...]
    weights: tuple[float, ...]
    futility: float = 0.2
