"""A description of the machine, for records; no result depends on it."""

import os
import platform
from pathlib import Path


def describe_machine() -> dict[str, str | int]:
    """Return system, processor and number of usable cores; neither the name of the machine nor of the user."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
    }


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's model as Linux reports it; elsewhere what Python knows, which may be nothing."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()
