"""Progress of a prediction on standard error: step, images done, speed, time left."""

import sys
import time


class ImageLog:
    """Print a line every few seconds; a callback of `reprood.predict.run.predict_run`.

    Parameters
    ----------
    name : str
        Name of the run.
    every : float
        Seconds between two lines.
    """

    def __init__(self, name: str, every: float = 5.0) -> None:
        self.name, self.every = name, every
        self.start = self.last = time.monotonic()

    def __call__(self, part: str, done: int, total: int | None) -> None:
        """Log that `done` images (of `total`, if known) are done; `part` names what is being computed."""
        now = time.monotonic()
        if now - self.last < self.every and done != total:
            return
        self.last = now
        speed = done / max(now - self.start, 1e-9)
        of, left = "", ""
        if total is not None:
            of, left = f"/{total}", f", {(total - done) / max(speed, 1e-9):.0f} s left"
        print(f"{self.name}: {part}, {done}{of} images, {speed:.0f} images/s{left}", file=sys.stderr, flush=True)
