"""DVC stores and transports what Snakemake made: a pulled workspace has nothing to re-run."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from checkout import ROOT, Checkout
from reprood.config import load_suite

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]

IDENTITY = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")


def git(checkout: Checkout, *arguments: str) -> str:
    return checkout.run("git", *IDENTITY, *arguments).stdout


@pytest.fixture(scope="module")
def versioned(built, tmp_path_factory):
    """The finished smoke suite under git and DVC, committed and pushed to a folder remote."""
    base = tmp_path_factory.mktemp("dvc")
    folder = base / "origin"
    shutil.copytree(built.folder, folder, symlinks=True)
    for name in (".dvc", ".dvcignore", ".gitignore", "Makefile"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
        else:
            shutil.copy2(source, folder / name)
    origin = built.at(folder)
    # the smoke suite is this repository's default, so that plain commands concern it
    origin.edit("config/config.yaml", "suite: quick", "suite: smoke")
    git(origin, "init", "-q", "-b", "main")
    origin.run("dvc", "remote", "add", "-d", "folder", str(base / "remote"))
    origin.run("dvc", "commit", "--force", "reproduce")
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "Results")
    origin.run("dvc", "push")
    return origin


def clone(origin: Checkout, folder: Path) -> Checkout:
    subprocess.run(["git", "clone", "-q", str(origin.folder), str(folder)], check=True)
    return origin.at(folder)


def plain_plan(checkout: Checkout) -> str:
    done = checkout.run("snakemake", "-n")
    return done.stdout + done.stderr


def test_results_are_not_in_git(versioned):
    tracked = git(versioned, "ls-files").split()
    assert "dvc.lock" in tracked
    assert not [
        name for name in tracked if name.split("/")[0] in ("data", "runs", "results", "reports", "state", "logs")
    ]


def test_a_pulled_clone_has_nothing_to_do(versioned, tmp_path):
    copy = clone(versioned, tmp_path / "clone")
    copy.run("dvc", "pull")
    assert "Nothing to be done" in plain_plan(copy)
    with open(copy.folder / "src/reprood/methods/godin.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    plan = copy.plan()
    assert plan["train"] == 2


def test_metrics_params_and_plots_are_shown(versioned):
    shown = json.loads(versioned.run("dvc", "metrics", "show", "--json").stdout)
    values = shown[""]["data"]
    jobs = load_suite("smoke", ROOT).jobs()
    assert set(values) == {f"results/summary/{benchmark}.{method}.json" for benchmark, method, _ in jobs}
    assert 0 <= values["results/summary/smoke_letters.erm.json"]["data"]["top1_error"] <= 100
    versioned.edit("config/config.yaml", "checkpoint_seconds: 30", "checkpoint_seconds: 31")
    try:
        assert "checkpoint_seconds" in versioned.run("dvc", "params", "diff").stdout
    finally:
        versioned.edit("config/config.yaml", "checkpoint_seconds: 31", "checkpoint_seconds: 30")
    assert "checkpoint_seconds" not in versioned.run("dvc", "params", "diff").stdout
    versioned.run("dvc", "metrics", "diff")
    assert "static" in versioned.run("dvc", "plots", "show").stdout or (versioned.folder / "dvc_plots").exists()


def test_revisions_can_be_compared(versioned, tmp_path):
    """After another setting of one method DVC tells the numbers of both revisions, of this method alone."""
    copy = clone(versioned, tmp_path / "clone")
    copy.run("dvc", "pull")
    part = "results/summary/smoke_letters.godin_c.json"
    before = json.loads((copy.folder / part).read_text())
    copy.edit(
        "config/suites/smoke.yaml",
        "{use: godin, label: DeConf-C}",
        "{use: godin, label: DeConf-C, set: {head: euclid}}",
    )
    copy.run("snakemake", "--cores", "2", "results/metrics.parquet", "results/plots.csv")
    after = json.loads((copy.folder / part).read_text())
    copy.run("dvc", "commit", "--force", "reproduce")
    git(copy, "commit", "-qam", "Head E")
    changed = json.loads(copy.run("dvc", "metrics", "diff", "HEAD~1", "HEAD", "--json").stdout)
    assert set(changed) == {part}
    told = changed[part]["top1_error"]
    assert (told["old"], told["new"]) == (before["top1_error"], after["top1_error"])
    copy.run("dvc", "plots", "diff", "HEAD~1", "HEAD", "--out", "plots")
    page = (copy.folder / "plots" / "index.html").read_text()
    assert all(f'"{revision}"' in page for revision in ("HEAD", "HEAD~1"))


def test_snapshot_refuses_when_something_would_run_again(versioned, tmp_path):
    copy = clone(versioned, tmp_path / "clone")
    copy.run("dvc", "pull")
    fake = copy.folder / ".venv"
    (fake / "bin").mkdir(parents=True)
    for name in ("snakemake", "dvc"):
        (fake / "bin" / name).symlink_to(shutil.which(name, path=copy.env["PATH"]))
    (fake / ".ready").touch()
    assert "dvc push" in copy.run("make", "snapshot").stdout
    with open(copy.folder / "src/reprood/methods/godin.py", "a") as stream:
        stream.write("\n\nEDITED = 1\n")
    refused = copy.run("make", "snapshot", check=False)
    assert refused.returncode != 0
    assert "something would re-run" in refused.stdout


@pytest.fixture
def ssh_server(tmp_path):
    """A real sshd on loopback with key authentication."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("needs an OpenSSH server (Debian: openssh-server)")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sftp = next(
        (p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server") if Path(p).exists()),
        "internal-sftp",
    )
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        f"PasswordAuthentication no\nStrictModes no\nUsePAM no\nPidFile {tmp_path}/pid\nSubsystem sftp {sftp}\n"
        "PermitRootLogin prohibit-password\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([server, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield port, tmp_path / "user"
    process.terminate()
    process.wait()


def test_over_ssh(versioned, ssh_server, tmp_path):
    port, key = ssh_server
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    for checkout in (clone(versioned, tmp_path / "a"), clone(versioned, tmp_path / "b")):
        checkout.run("dvc", "remote", "add", "--local", "server", f"ssh://{user}@127.0.0.1:{port}{tmp_path}/remote")
        checkout.run("dvc", "remote", "modify", "--local", "server", "keyfile", str(key))
    first, second = versioned.at(tmp_path / "a"), versioned.at(tmp_path / "b")
    first.run("dvc", "pull")
    first.run("dvc", "push", "--remote", "server")
    second.run("dvc", "pull", "--remote", "server")
    assert "Nothing to be done" in plain_plan(second)
