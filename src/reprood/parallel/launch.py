"""Whether and how a training is done in several processes; no torch."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from reprood.core.errors import ReproodError
from reprood.warm import KILL_WITH_PARENT

VARIABLE = "REPROOD_PROCESSES"  # how many processes the workflow's trainings are to have
METHODS = (
    "cnc",
    "csi",
    "cutmix",
    "cutpaste",
    "dias",
    "erm",
    "oe",
    "resmooth",
    "ss_one_class",
    "ss_ood",
)


def world() -> int:
    """Processes of the group that this one was started in; 1 when it was started alone."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def local_world() -> int:
    """Those of them on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def wanted() -> int:
    """How many processes the environment asks for.

    Raises
    ------
    ReproodError
        When it is no number above 0.
    """
    text = os.environ.get(VARIABLE, "1")
    if not text.isdigit() or int(text) < 1:
        raise ReproodError(f"{VARIABLE} is '{text}'; expected a number of processes, 1 or more.")
    return int(text)


def refuse(settings: Mapping[str, Any], device: str, gpus: int) -> None:
    """Say why a training cannot be done in several processes, if so.

    Raises
    ------
    ReproodError
        For a method that was not compared with its training in one process, a compiled network, or too few GPUs.
    """
    if settings["use"] not in METHODS:
        raise ReproodError(
            f"The method {settings['use']} is not trained in several processes (only {', '.join(METHODS)} were "
            "compared with one process); start it without torchrun."
        )
    if settings.get("compile"):
        raise ReproodError("A compiled network is not shared out to processes; leave `compile` out.")
    if device != "cpu" and 0 < gpus < local_world():
        raise ReproodError(f"{local_world()} processes and {gpus} GPUs: start one process a GPU, or use --device cpu.")


def die_with_launcher() -> None:
    """A process of a group ends when torchrun is killed, which starts its processes in sessions of their own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)


def become_group(count: int) -> None:
    """Replace this process by torchrun with the same command line in `count` processes; does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    os.execv(sys.executable, [*command, "-m", "reprood", *sys.argv[1:]])
