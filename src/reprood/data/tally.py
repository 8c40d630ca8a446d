"""Count what a reader leaves out or guesses, so that it can be reported with the first example."""


class Tally:
    """Counts by sentence, each with its first example, in the order of their first occurrence."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, example: str, count: int = 1) -> None:
        """Count `count` more of `what`, the end of a sentence that begins with their number."""
        if count:
            before, first = self._found.get(what, (0, example))
            self._found[what] = before + count, first

    def notes(self) -> tuple[str, ...]:
        """Return one sentence for each kind.

        Examples
        --------
        >>> tally = Tally()
        >>> tally.add("files without the suffix of an image are left out", "cat/notes.txt")
        >>> tally.notes()
        ('1 files without the suffix of an image are left out (the first: cat/notes.txt)',)
        """
        return tuple(f"{count:,} {what} (the first: {first[:200]})" for what, (count, first) in self._found.items())
