"""The warm server does what the command does by itself, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reprood import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server needs Linux")

SERVER = """
import sys, time
from reprood import warm
warm._import_everything = {run}
warm.start = None
warm.serve({path!r})
"""
RUN = "lambda: __import__('{module}').{function}"
MODULE = """
import os, sys, time

def run():
    order = sys.argv[1]
    if order == "echo":
        print(os.getcwd(), os.environ.get("ASKED"), sys.argv[2:], sys.stdin.read())
    elif order == "mistake":
        sys.exit("error: one sentence.")
    elif order == "raise":
        raise ValueError("a defect")
    elif order == "sleep":
        open(sys.argv[2], "w").write(str(os.getpid()))
        time.sleep(60)
    elif order == "abort":
        os.abort()
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running server whose job is MODULE's; gives the client's environment."""
    (tmp_path / "jobs_of_the_test.py").write_text(MODULE)
    path = tmp_path / "warm.socket"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    code = SERVER.format(run=RUN.format(module="jobs_of_the_test", function="run"), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment)
    _wait(path.exists)
    yield process, {**environment, warm.VARIABLE: str(path)}
    process.stdin.close()
    assert process.wait(10) == 0
    assert not path.exists()


def _wait(condition, seconds=20.0):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "waited too long"
        time.sleep(0.02)


def ask(environment, *arguments, **options):
    command = [sys.executable, "-c", "from reprood.warm import main; main()", *arguments]
    options = {"capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run(command, env=environment, check=False, **options)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_has_the_askers_arguments_folder_environment_and_streams(server, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    found = ask({**server[1], "ASKED": "yes"}, "echo", "a b", "--c", cwd=folder, input="typed")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == f"{folder} yes ['a b', '--c'] typed\n"


def test_a_job_ends_as_it_would_by_itself(server):
    mistake = ask(server[1], "mistake")
    assert (mistake.returncode, mistake.stderr) == (1, "error: one sentence.\n")
    defect = ask(server[1], "raise")
    assert defect.returncode == 1
    assert "ValueError: a defect" in defect.stderr
    assert ask(server[1], "abort").returncode == -signal.SIGABRT
    assert ask(server[1], "echo", input="").returncode == 0  # the server is still there


def test_a_job_dies_with_its_asker(server, tmp_path):
    told = tmp_path / "process"
    command = [sys.executable, "-c", "from reprood.warm import main; main()", "sleep", str(told)]
    asker = subprocess.Popen(command, env=server[1])
    _wait(lambda: told.exists() and told.read_text())
    job = int(told.read_text())
    assert alive(job)
    asker.kill()
    asker.wait()
    _wait(lambda: not alive(job))


def test_jobs_die_with_the_server_and_askers_are_told(server, tmp_path):
    process, environment = server
    told = tmp_path / "process"
    command = [sys.executable, "-c", "from reprood.warm import main; main()", "sleep", str(told)]
    asker = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    _wait(lambda: told.exists() and told.read_text())
    process.stdin.close()  # as when Snakemake dies
    assert process.wait(10) == 0
    _wait(lambda: not alive(int(told.read_text())))
    assert asker.wait(10) == 1
    assert "the warm server has died" in asker.stderr.read()


def test_without_a_server_or_with_several_threads_a_command_runs_by_itself(tmp_path):
    environment = {**os.environ, warm.VARIABLE: str(tmp_path / "nothing")}
    reprood = shutil.which("reprood", path=str(Path(sys.executable).parent))
    found = subprocess.run([reprood, "--help"], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert "The stages stand in one line" in found.stdout
    assert warm._one_thread(["reprood", "train", "--threads", "1"])
    assert warm._one_thread(["reprood", "evaluate"])
    assert not warm._one_thread(["reprood", "train", "--threads", "2"])
