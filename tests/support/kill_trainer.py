"""Train one run in child processes that are killed again and again, then once to the end.

Usage: python kill_trainer.py SETTINGS DATA OUT STATE KILLS SEED

torch is imported once and every attempt is a fork, so that an attempt costs milliseconds. A child is killed (SIGKILL)
a random moment after it has written a random number of checkpoints. Prints how many children were killed.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from reprood.train.run import train_run


def attempt(record: dict, data: Path, out: Path, state: Path) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the child
            train_run(record, data=data, out=out, state=state, device="cpu", threads=1, checkpoint_seconds=0)
            status = 0
        finally:
            os._exit(status)
    return child


def identity(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1


def main(settings: str, data: str, out: str, state: str, kills: int, seed: int) -> None:
    record, rng, killed = json.loads(settings), random.Random(seed), 0
    checkpoint = Path(state) / "train.checkpoint"
    while killed < kills:
        child = attempt(record, Path(data), Path(out), Path(state))
        wanted, seen, last = rng.randint(0, 12), 0, identity(checkpoint)
        ended = 0
        while seen < wanted and not ended:
            time.sleep(0.0005)
            now = identity(checkpoint)
            seen, last = seen + (now != last), now
            ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(rng.random() * (0.02 if wanted else 0.1))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
    _, status = os.waitpid(attempt(record, Path(data), Path(out), Path(state)), 0)
    assert status == 0, status
    print(killed)


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]), int(sys.argv[6]))
