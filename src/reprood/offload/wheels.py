"""Packages that the other machine lacks, carried as wheels; and what a job imports."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.pipeline.fingerprint import PACKAGE, closure, source

CARRIED = ("pydantic", "typer", "safetensors")  # what images with torch mostly lack; small

PLATFORMS = tuple(
    [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)]
    + ["manylinux2014_x86_64", "manylinux1_x86_64"]
)


def imported(*entries: str) -> list[str]:
    """Packages that importing some modules of this project imports, as a statement at the top of a module."""
    found: set[str] = set()
    for module in {module for entry in entries for module in closure(entry)}:
        path = source(module)
        assert path is not None
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module)
    tops = {name.split(".")[0] for name in found}
    return sorted(tops - set(sys.stdlib_module_names) - {PACKAGE.name})


def distributions(packages: Iterable[str]) -> dict[str, str]:
    """Imported package -> its distribution, as pip names it."""
    known = packages_distributions()
    return {package: known.get(package, [package])[0] for package in packages}


def download(names: Sequence[str], folder: Path, python: str, platforms: Sequence[str]) -> dict[str, list[Path]]:
    """Wheels of each distribution and of what it needs, in this environment's versions, for another interpreter.

    Raises
    ------
    ReproodError
        When a distribution is not installed here, or pip finds no wheel.
    """
    found: dict[str, list[Path]] = {}
    for name in names:
        try:
            wanted = f"{name}=={version(name)}"
        except PackageNotFoundError as error:
            raise ReproodError(f"--carry {name}: it is not installed here; name distributions of this one.") from error
        target = folder / name
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", str(target)]
        command += ["--implementation", "cp", "--python-version", python]
        command += [part for platform in platforms for part in ("--platform", platform)]
        done = subprocess.run([*command, wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
            raise ReproodError(
                f"No wheels of {wanted} for Python {python} on {', '.join(platforms)} ({reason}); "
                "give others with --python and --platform, or carry nothing with --carry none."
            )
        found[name] = sorted(target.glob("*.whl"))
    return found
