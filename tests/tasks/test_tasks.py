"""What people try first, each as a script that runs with the installed wheel, in a folder of `reprood init`."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from checkout import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
FILES = (
    "pyproject.toml", "setup.py", "README.md", "Snakefile", "dvc.yaml", "requirements.lock", "LICENSE", "CITATION.cff",
)  # fmt: skip
RESULTS = (".snakemake", "data", "logs", "results", "reports", "runs", "state")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A virtual environment with the wheel of this checkout, and the packages of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, sources)
    for name in ("src", "workflow", "config", "profiles", "notebooks"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (sources / "published").mkdir()
    shutil.copy(ROOT / "published" / "allowed_signers", sources / "published")
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, sources], check=True)
    venv.create(folder / "venv")
    packages = Path(sysconfig.get_paths(vars={"base": str(folder / "venv")})["purelib"])
    (packages / "base.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (file,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", "--target", packages, file], check=True)
    bin_folder = folder / "venv" / "bin"
    for name, module in (("reprood", "reprood.cli.main"), ("snakemake", "snakemake.cli")):
        script = bin_folder / name
        script.write_text(f"#!{bin_folder}/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        script.chmod(0o755)
    return bin_folder


@pytest.fixture(scope="module")
def study(installed, built, tmp_path_factory) -> Path:
    """A folder of `reprood init` with the results of the suite smoke."""
    folder = tmp_path_factory.mktemp("study") / "study"
    environment = {**os.environ, "PATH": f"{installed}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    subprocess.run(["reprood", "init", str(folder)], env=environment, check=True, capture_output=True)
    for name in RESULTS:
        subprocess.run(["cp", "-a", str(built.folder / name), str(folder / name)], check=True)
    return folder


@pytest.mark.parametrize("script", sorted(HERE.glob("*.sh")), ids=lambda path: path.stem)
def test_task(script, study, installed, tmp_path):
    folder = tmp_path / "study"
    subprocess.run(["cp", "-a", str(study), str(folder)], check=True)
    shutil.copy(HERE / "make_images.py", folder)
    environment = {**os.environ, "PATH": f"{installed}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = ["bash", "-euo", "pipefail", str(script)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    log = folder / "log"
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{log.read_text()[-3000:] if log.is_file() else ''}"
