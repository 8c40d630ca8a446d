"""Tables of text on standard output."""

import sys
from collections.abc import Collection, Sequence

Row = tuple[str, ...]


def aligned(head: Row, rows: Sequence[Row], right: Collection[int] = ()) -> list[str]:
    """Return a table as lines with aligned columns, two spaces apart.

    Parameters
    ----------
    head : tuple of str
        Titles of the columns.
    rows : sequence of tuple of str
    right : collection of int
        Columns that are aligned to the right.

    Examples
    --------
    >>> aligned(("suite", "runs"), [("smoke", "37"), ("quick", "195")], right=[1])
    ['suite  runs', 'smoke    37', 'quick   195']
    """
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def print_table(head: Row, rows: Sequence[Row], right: Collection[int] = (), *, tsv: bool = False) -> None:
    """Print a table: with wrapped columns on a terminal, else aligned plain text, or tab-separated with `tsv`."""
    if tsv:
        print("\n".join("\t".join(row) for row in (head, *rows)))
    elif not sys.stdout.isatty():
        print("\n".join(aligned(head, rows, right)))
    else:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column, title in enumerate(head):
            table.add_column(Text(title), justify="right" if column in right else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
