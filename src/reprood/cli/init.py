"""`reprood init`: a folder with the workflow and its configuration."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from reprood.core.errors import ReproodError
from reprood.core.registry import PACKAGE

PARTS = ("Snakefile", "workflow", "config", "profiles", "notebooks", "dvc.yaml", "requirements.lock", "LICENSE",
         "CITATION.cff", "published/allowed_signers")  # fmt: skip


def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, or one with an older version of these files.")],
    force: Annotated[bool, typer.Option("--force", help="Replace files that differ.")] = False,
) -> None:
    """Create a folder with the workflow, its suites and the papers' claims, in which Snakemake runs.

    Example: reprood init my-study
    """
    source = project()
    files = {
        path.relative_to(source): path
        for part in PARTS
        for path in ([source / part] if (source / part).is_file() else sorted((source / part).rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts
    }
    changed = [name for name, path in files.items() if _differs(folder / name, path)]
    if changed and not force:
        raise ReproodError(
            f"{folder / changed[0]} exists and differs, and so do {len(changed) - 1} other files; choose an empty "
            "folder, or replace them with --force."
        )
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    print(f"{len(files)} files in {folder}. Next:\n  cd {folder}\n  snakemake --cores all")


def project() -> Path:
    """Return the folder of the project's files: of an installed package, or of a checkout.

    Raises
    ------
    ReproodError
        When there is none.
    """
    for root in (PACKAGE / "project", PACKAGE.parent.parent):
        if all((root / part).exists() for part in PARTS):
            return root
    raise ReproodError(f"The installed package {PACKAGE} holds no workflow; install reprood from a wheel.")


def _differs(target: Path, source: Path) -> bool:
    return target.exists() and (not target.is_file() or target.read_bytes() != source.read_bytes())
