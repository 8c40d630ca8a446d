"""Text of others on a terminal: names and messages may hold control sequences, and no end."""

LONGEST = 1200  # characters of a message


def printable(text: str, longest: int = LONGEST) -> str:
    """One line of at most `longest` characters without control characters."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= longest else f"{line[: longest - 6]} [...]."
