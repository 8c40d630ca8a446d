"""The checks of a release, and how they are printed."""

from dataclasses import dataclass

from reprood.core.messages import printable

SHOWN = 8  # details of a check that are printed


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes
    ----------
    name : str
    holds : bool or None
        None: not checked.
    details : tuple of str
        What is wrong, or why nothing was checked.
    count : int or None
        How many things were looked at; None where that is no number.
    """

    name: str
    holds: bool | None
    details: tuple[str, ...] = ()
    count: int | None = None

    def __str__(self) -> str:
        """Return one line, and one for each detail."""
        mark = {True: "holds", False: "DOES NOT HOLD", None: "not checked"}[self.holds]
        more = len(self.details) - SHOWN
        looked = "" if self.count is None else f" ({self.count:,} checked)"
        lines = [f"{mark:>13}  {self.name}{looked}", *(f"{'':>15}{printable(text)}" for text in self.details[:SHOWN])]
        return "\n".join([*lines, f"{'':>15}and {more} more"] if more > 0 else lines)


@dataclass(frozen=True)
class Verification:
    """All checks of a release.

    Attributes
    ----------
    checks : tuple of Check
    skipped : int
        Checks that were skipped because other code computed these parts.
    own_code : int
        Checks that were skipped because they need detectors from the release's author.
    archived : int
        Checks that were not made because they need the archive that the release names.
    revision : str
        The code revision that the release states; "" when it states none.
    """

    checks: tuple[Check, ...]
    skipped: int
    revision: str
    own_code: int = 0
    archived: int = 0

    @property
    def failed(self) -> list[str]:
        """Names of the checks that do not hold."""
        return [check.name for check in self.checks if check.holds is False]
