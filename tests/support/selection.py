"""Which tests of the large sets run by default, and in which order tests run."""

from collections import defaultdict
from collections.abc import Sequence

import pytest

SHARE = 10  # one of this number of hostile inputs is tested by default


def sample(items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Split tests into those that run by default and those that run with `--full` only.

    Of the hostile inputs (tests with a parameter `case`) every tenth of a kind runs, beginning with its first. Of the
    chaos tests those run that are not marked `full`.
    """
    kept, left_out = [], []
    seen: defaultdict[str, int] = defaultdict(int)
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        runs = item.get_closest_marker("full") is None
        if item.get_closest_marker("hostile") and case is not None:
            runs = seen[case.kind] % SHARE == 0
            seen[case.kind] += 1
        (kept if runs else left_out).append(item)
    return kept, left_out


def order_by_cost(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Put tests on the finished smoke suite first, file by file: pytest-xdist ends earlier with the long ones begun."""

    def cost(item: pytest.Item) -> int:
        return 0 if item.get_closest_marker("workflow") or item.get_closest_marker("chaos") else 1

    return sorted(items, key=cost)
