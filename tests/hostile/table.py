"""Judge every case and write the table of docs/hostile-input.md: `python tests/hostile/table.py`."""

import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
from hostile_cases import CASES, KINDS  # noqa: E402
from hostile_harness import ROOT, judge  # noqa: E402

PAGE = ROOT / "docs/hostile-input.md"
BEGIN, END = "<!-- table: made by tests/hostile/table.py -->\n", "<!-- end of the table -->\n"


def main() -> None:
    """A loss is a case of which anything that is promised does not hold."""
    refused: Counter[str] = Counter()
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                judge(case, Path(folder))
                refused[case.kind] += 1
            except AssertionError as error:
                print(f"LOST {case.kind}: {case.name}: {str(error)[:300]}", file=sys.stderr)
    counted = Counter(case.kind for case in CASES)
    lines = ["| kind | cases | refused with one sentence | losses |", "|---|---:|---:|---:|"]
    for kind in KINDS:
        lines.append(f"| {kind} | {counted[kind]} | {refused[kind]} | {counted[kind] - refused[kind]} |")
    lost = len(CASES) - refused.total()
    lines.append(f"| all | {len(CASES)} | {refused.total()} | {lost} |")
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(head + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2], encoding="utf-8")
    print(lines[-1])
    sys.exit(lost > 0)


if __name__ == "__main__":
    main()
