"""Snakemake's linter has nothing to say but that rules name no conda environment: the lock file is the environment."""

import re
import subprocess
import sys

import pytest
from checkout import ROOT

SOFTWARE = "Specify a conda environment or container for each rule."


@pytest.mark.slow
def test_the_linter_reports_nothing_but_missing_conda_environments():
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    titles = re.findall(r"^ +\* (.*):$", done.stdout + done.stderr, flags=re.MULTILINE)
    assert set(titles) == {SOFTWARE}
