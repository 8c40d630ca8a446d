"""A clock that has gone back: results that seem to come from the future are given earlier times, in the same order.

Snakemake gives what a job has written the present time, and refuses it when an input is younger ("clock skew"). So
results that were made before the clock went back, or while it was ahead, would stop every job that rests on them.
"""

import os
import time
from pathlib import Path

from reprood.core.checksums import FOLDERS, NEWEST

SOURCES = ("config", "notebooks", "src", "workflow", "Snakefile", "LICENSE", "CITATION.cff", "requirements.lock")
PARTS = (*FOLDERS, "state", *SOURCES)  # whatever a rule reads or writes
TOLERANCE = 1.0  # seconds; smaller differences pass before the first job ends
MARGIN = 10.0  # seconds; Snakemake touches results when their job has ended and noted the time


def behind(root: Path) -> float:
    """Seconds by which the clock stands before the newest result of a checkout; 0 when it does not."""
    path = root / NEWEST
    if not path.is_file() or not path.stat().st_size:
        return 0.0
    seconds = path.stat().st_mtime_ns / 1e9 - time.time()
    return seconds if seconds > TOLERANCE else 0.0


def set_back(root: Path) -> str:
    """Make everything older by as much as the clock is behind; what is returned is to be said, if anything.

    All times move alike, so what was newer stays newer. Links are not followed; contents are not touched.
    """
    seconds = behind(root)
    if not seconds:
        return ""
    says = f"the clock stands {seconds:.0f} s before the newest result"
    try:
        for part in PARTS:
            for path in [root / part, *(root / part).rglob("*")]:
                if not path.is_symlink() and (path.is_file() or path.is_dir()):
                    status = path.stat()
                    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - int((seconds + MARGIN) * 1e9)))
    except OSError as error:
        return f"{says}, and times cannot be changed here ({error.strerror}); set the clock right."
    return f"{says}; all results were given times that are so much earlier, in the same order."
