"""The lock is hashed and free of addresses, the environment is the lock's, licences are listed, advisories are found."""

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hostile_harness import ROOT, Act, perform

from reprood.core.errors import ReproodError
from reprood.publish.bill import locked
from reprood.publish.supply import (
    KINDS,
    applies,
    check_environment,
    check_lock,
    kind_of,
    licences,
    page,
    read_advisories,
    vulnerable,
)

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
HASH = f"    --hash=sha256:{'0' * 64}\n"


def test_every_locked_package_is_pinned_with_hashes_and_without_addresses():
    assert check_lock(LOCK) == []
    assert len(locked(LOCK)) > 200
    assert all(package["sha256"] for package in locked(LOCK))


@pytest.mark.parametrize(("text", "words"), [
    ("a==1 \\\nb==2 \\\n" + HASH, "a has no hash"),
    ("a>=1 \\\n" + HASH, "line 1"),
    ("a \\\n" + HASH, "line 1"),
    ("a @ https://example.org/a.whl \\\n" + HASH, "no address"),
    ("https://example.org/a.whl \\\n" + HASH, "no address"),
    ("--index-url https://example.org\na==1 \\\n" + HASH, "--index-url"),
    ("--extra-index-url https://example.org\na==1 \\\n" + HASH, "--extra-index-url"),
    ("--trusted-host example.org\na==1 \\\n" + HASH, "--trusted-host"),
    ("-e .\na==1 \\\n" + HASH, "-e ."),
    ("-r more.txt\na==1 \\\n" + HASH, "-r more.txt"),
    ("./a.whl \\\n" + HASH, "./a.whl"),
    ("a==1 \\\n    --hash=md5:0123\n", "a has no hash"),
    ("a==1 \\\n    --hash=sha256:0123\n", "a has no hash"),
    ("a==1 \\\n" + HASH + "A==2 \\\n" + HASH, "named in the lines 1 and 3"),
    ("", "no package is locked"),
])  # fmt: skip
def test_a_lock_that_is_not_is_told(text, words):
    assert any(words in line for line in check_lock(text)), check_lock(text)


def test_the_environment_is_the_locks():
    assert check_environment(LOCK) == []
    assert "numpy is" in check_environment(f"numpy==0.0.1 \\\n{HASH}")[0]
    assert "not installed" in check_environment(f"no-such-package==1 \\\n{HASH}")[0]
    assert check_environment(f"no-such-package==1 ; sys_platform == 'nowhere' \\\n{HASH}") == []


def wheel(folder: Path, text: str = "VALUE = 1\n") -> Path:
    """A wheel of one module."""
    path = folder / "reprood_tiny-1.0-py3-none-any.whl"
    files = {
        "reprood_tiny.py": text,
        "reprood_tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: reprood-tiny\nVersion: 1.0\n",
        "reprood_tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data.encode()).digest()).decode().rstrip('=')},{len(data)}\n"
        for name, data in files.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {
            **files,
            "reprood_tiny-1.0.dist-info/RECORD": f"{record}reprood_tiny-1.0.dist-info/RECORD,,\n",
        }.items():
            archive.writestr(name, data)
    return path


def test_a_wheel_that_is_not_the_locked_one_is_not_installed(tmp_path):
    good = wheel(tmp_path)
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"reprood-tiny==1.0 \\\n    --hash=sha256:{hashlib.sha256(good.read_bytes()).hexdigest()}\n")
    assert check_lock(lock.read_text()) == []

    def install(target: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-index",
            "--no-deps",
        ]
        command += [
            "--require-hashes",
            "--find-links",
            str(tmp_path),
            "--target",
            str(tmp_path / target),
            "-r",
            str(lock),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = install("good")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "good/reprood_tiny.py").is_file()
    wheel(tmp_path, "VALUE = 2\n")  # the same name and version, other content
    done = install("bad")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "bad/reprood_tiny.py").exists()


@pytest.mark.parametrize(("licence", "kind"), [
    ("MIT", "permissive"), ("Apache-2.0 OR GPL-2.0-or-later", "permissive"), ("MPL-2.0 AND MIT", "weak copyleft"),
    ("GNU General Public License v2 (GPLv2)", "copyleft"), ("AGPL-3.0-only", "copyleft"), ("LGPL-3.0-only", "weak copyleft"),
    ("GPLv2 with linking exception", "weak copyleft"), ("NVIDIA Proprietary Software", "proprietary"), ("", "unknown"),
    ("As you like it", "unknown"), ("MPL-2.0 AND (Apache-2.0 OR MIT)", "weak copyleft"),
    ("Public Domain AND BSD License AND GNU General Public License (GPL)", "copyleft"),
])  # fmt: skip
def test_kinds_of_licences(licence, kind):
    assert kind_of(licence) == kind
    assert kind in KINDS


def test_the_page_of_licences_lists_every_locked_package():
    text = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    rows = text.split("## All")[1].splitlines()
    listed = {tuple(row.split(" | ")[:2]) for row in rows if row.startswith("| ")}
    assert {(f"| {package['name']}", package["version"]) for package in locked(LOCK)} <= listed, (
        "run: reprood supply --licences"
    )
    for package in licences(LOCK):
        try:
            installed = version(package.name).split("+")[0] == package.version
        except PackageNotFoundError:
            installed = False
        if installed and applies(package.marker):
            assert (
                f"| {package.name} | {package.version} | {package.licence or 'not stated'} | {package.kind} |" in text
            )
    assert page([]).startswith("# Licences")


ADVISORY = {
    "id": "TEST-1", "aliases": ["CVE-0000-1"], "summary": "It is bad.",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "Reprood.Tiny"}, "ranges": [
        {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}, {"last_affected": "2.5"}]}]}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("number", "hit"), [("0.1", 1), ("1.1.9", 1), ("1.2", 0), ("1.10", 0), ("2.0", 1), ("2.5", 1), ("2.5.1", 0)]
)
def test_advisories_are_matched_by_version(number, hit):
    found = vulnerable(f"reprood_tiny=={number} \\\n{HASH}", [ADVISORY])
    assert len(found) == hit
    assert not hit or "TEST-1, CVE-0000-1: It is bad." in found[0]


def test_advisories_that_do_not_concern_are_left_out():
    lock = f"reprood-tiny==1.0 \\\n{HASH}"
    elsewhere = {
        **ADVISORY,
        "affected": [{"package": {"ecosystem": "npm", "name": "reprood-tiny"}, "versions": ["1.0"]}],
    }
    listed = {**ADVISORY, "affected": [{"package": {"ecosystem": "PyPI", "name": "reprood-tiny"}, "versions": ["1.0"]}]}
    assert vulnerable(lock, [elsewhere, {**ADVISORY, "withdrawn": "2026-01-01T00:00:00Z"}]) == []
    assert len(vulnerable(lock, [listed])) == 1
    assert vulnerable("", [ADVISORY]) == []


def test_the_command_says_what_it_looked_at(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/osv.json").write_text(json.dumps({"vulns": [ADVISORY]}))
    lock = str(ROOT / "requirements.lock")
    done = perform(Act(["supply", "--lock", lock], tmp_path / "inside"), tmp_path)
    assert done.status == 0, done.said
    assert "not checked, because no advisories were given" in done.said
    done = perform(Act(["supply", "--lock", lock, "--advisories", "osv.json"], tmp_path / "inside"), tmp_path)
    assert done.status == 0, done.said
    assert "looked up in 1 advisories of osv.json" in done.said
    (tmp_path / "inside/lock").write_text(f"numpy==0.0.1 \\\n{HASH}reprood-tiny==1.0 \\\n{HASH}")
    done = perform(Act(["supply", "--lock", "lock", "--advisories", "osv.json"], tmp_path / "inside"), tmp_path)
    assert done.status == 1
    assert "TEST-1" in done.said
    assert "error: lock: findings: 2 in the environment, 1 in known vulnerabilities" in done.said
    assert not done.seen


@pytest.mark.parametrize(("content", "words"), [
    (b"{", "not valid JSON"), (b"[" * 100_000, "not valid JSON"), (b"\xff\xfe", "not valid JSON"), (b"3", "no advisory"),
    (b"[]", "holds no advisories"), (b'{"id": "x"}', "no advisory"), (b'{"vulns": [1]}', "no advisory"),
])  # fmt: skip
def test_bad_advisories_are_told(tmp_path, content, words):
    (tmp_path / "osv.json").write_bytes(content)
    with pytest.raises(ReproodError, match=words):
        read_advisories(tmp_path / "osv.json")
    with pytest.raises(ReproodError, match="does not exist"):
        read_advisories(tmp_path / "nowhere")


def test_advisories_come_in_folders_and_archives(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(ADVISORY))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("one.json", json.dumps(ADVISORY))
    assert read_advisories(tmp_path) == read_advisories(tmp_path / "all.zip") == [ADVISORY]
