"""What a training ran on, for its record; nothing here decides anything."""

import os
import platform
from pathlib import Path


def machine() -> dict[str, str | int]:
    """System, processor and number of usable cores; no name of the machine and no user."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(Path("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
    }


def _processor(information: Path) -> str:
    """The processor's model as Linux tells it; elsewhere what Python knows, which may be nothing."""
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()
