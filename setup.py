"""Put the workflow and its configuration into the wheel, from where `reprood init` copies them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT = (
    "Snakefile", "workflow", "config", "profiles", "notebooks", "dvc.yaml", "requirements.lock", "LICENSE",
    "CITATION.cff", "published/allowed_signers",
)  # fmt: skip


class BuildWithProject(build_py):
    """Build the package, and copy the project's files to `reprood/project`."""

    def run(self) -> None:
        """Build; an editable installation uses the files of the checkout."""
        super().run()
        if self.editable_mode:
            return
        for name in PROJECT:
            target = Path(self.build_lib) / "reprood" / "project" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(name).is_dir():
                shutil.copytree(name, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(name, target)


setup(cmdclass={"build_py": BuildWithProject})
