"""The colours of the methods. No matplotlib: the workflow assigns them."""

from collections.abc import Collection, Iterable, Sequence

from reprood.config.suite import Suite

# Colour-blind safe: Okabe and Ito's eight, then Tol's muted ones. See `places`.
PALETTE = (
    "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#882255", "#44AA99", "#999933",
    "#332288", "#AA4499", "#88CCEE", "#DDCC77",
)  # fmt: skip


def places(methods: Sequence[str], groups: Iterable[Collection[str]]) -> dict[str, int]:
    """Return a position in the palette for each method, the same in all figures.

    Methods of one group (those that run on one benchmark) have different positions as long as the palette suffices;
    others may share one.
    """
    shared: dict[str, set[str]] = {method: set() for method in methods}
    for group in groups:
        for method in group:
            shared[method].update(group)
    found: dict[str, int] = {}
    for method in methods:
        taken = {found[other] for other in shared[method] if other in found}
        free = [place for place in range(len(PALETTE)) if place not in taken]
        found[method] = free[0] if free else len(found) % len(PALETTE)
    return found


def palette_of(suite: Suite) -> dict[str, int]:
    """Return a position in the palette for each method of a suite: different ones on a benchmark, if there are enough.

    See Also
    --------
    places : the rule.
    """
    groups: dict[str, set[str]] = {}
    for benchmark, method, _ in suite.jobs():
        groups.setdefault(benchmark, set()).add(method)
    return places(list(suite.methods), groups.values())
