"""What a visit ran on, for the record: no names of hosts or users, and CUDA stays untouched in this process."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError

ASK = """
import json, sys, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
gpus = [torch.cuda.get_device_properties(i) for i in range(count)]
json.dump({
    "torch": torch.__version__,
    "cuda": torch.version.cuda,
    "cudnn": torch.backends.cudnn.version() if gpus else None,
    "gpus": [{"name": p.name, "memory_gib": round(p.total_memory / 2**30, 1)} for p in gpus],
}, sys.stdout)
"""


def describe(image: str) -> dict[str, Any]:
    """Processor, system, interpreter, torch and GPUs; asked in another process, because a fork of one that has used
    CUDA cannot use it.

    Raises
    ------
    ReproodError
        When torch cannot be imported.
    """
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [""])[-1]
        raise ReproodError(f"torch cannot be used with {sys.executable} ({reason}); take a Python that has torch.")
    return {
        "image": image or _system(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "python": platform.python_version(),
        "driver": _driver(),
        **json.loads(done.stdout),
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return platform.platform()


def _processor(path: Path = Path("/proc/cpuinfo")) -> str:
    if not path.is_file():
        return platform.processor()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _driver(path: Path = Path("/proc/driver/nvidia/version")) -> str:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[0] if path.is_file() else ""
