"""A copy of the project in a temporary folder, on which the real workflow runs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite import edit_suite

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "Snakefile",
    "workflow",
    "profiles",
    "config",
    "src",
    "notebooks",
    "dvc.yaml",
    "pyproject.toml",
    "requirements.lock",
    "LICENSE",
    "CITATION.cff",
)


class Checkout:
    """Runs Snakemake and the command line on a copy of the sources."""

    def __init__(self, folder: Path, *, fill: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS if fill else ():
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, folder / part)
        self.env = {
            **os.environ,
            "PYTHONPATH": str(folder / "src"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }

    def at(self, folder: Path) -> "Checkout":
        """The same, for a folder that is a copy or a clone already."""
        return Checkout(folder, fill=False)

    def run(self, *command: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done

    def snakemake(self, *arguments: str, suite: str = "smoke", **options) -> subprocess.CompletedProcess[str]:
        return self.run("snakemake", "--cores", "2", *arguments, "--config", f"suite={suite}", **options)

    def plan(self, *arguments: str, suite: str = "smoke") -> dict[str, int]:
        """Jobs by rule that a dry run announces."""
        done = self.run("snakemake", "-n", *arguments, "--quiet", "rules", "--config", f"suite={suite}", check=False)
        text = done.stdout + done.stderr
        assert done.returncode == 0, text
        if "Nothing to be done" in text:
            return {}
        # `--quiet rules` still prints the table of job counts
        table = re.findall(r"^(\w+)\s+(\d+)$", text, flags=re.MULTILINE)
        return {rule: int(count) for rule, count in table if rule not in ("total", "all", "default")}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a source file, exactly once, with a newer time."""
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) >= 1, f"{path} does not contain {old!r}"
        file.write_text(text.replace(old, new, 1))

    def edit_suite(self, changes: Mapping[str, Any], suite: str = "smoke") -> None:
        """Set values in a committed suite; the keys are dotted."""
        edit_suite(self.folder / "config" / "suites" / f"{suite}.yaml", changes)
