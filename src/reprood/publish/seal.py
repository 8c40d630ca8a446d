"""Checksums of a release, and an optional signature with an SSH key (works without network wherever OpenSSH is)."""

import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path, sha256_file
from reprood.publish.contents import SIGNATURE, SUMS

NAMESPACE = "reprood"


def sums_of(folder: Path) -> dict[str, str]:
    """Return path -> SHA-256 of every file in a folder except the checksums and their signature, sorted.

    Raises
    ------
    ReproodError
        When the folder holds a link, which could lead outside, or a special file.
    """
    sums = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ReproodError(f"{path} is a link; a release holds plain files only.")
        if not path.is_file() and not path.is_dir():
            raise ReproodError(f"{path} is neither a file nor a folder; a release holds plain files only.")
        if path.is_file() and name not in (SUMS, SIGNATURE):
            sums[name] = sha256_file(path)
    return sums


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS in the form that `sha256sum -c` reads."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums_of(folder).items())
    with atomic_path(folder / SUMS) as temporary:
        temporary.write_text(lines, encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS as path -> SHA-256.

    Raises
    ------
    ReproodError
        When it is missing, or a line is not a digest and a path inside the release.
    """
    path = folder / SUMS
    if not path.is_file():
        raise ReproodError(f"{path} is missing; this is not a published release.")
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        digest, _, name = line.partition("  ")
        parts = PurePosixPath(name)
        if len(digest) != 64 or not name or parts.is_absolute() or ".." in parts.parts:
            raise ReproodError(f"{path}, line {number}: expected a SHA-256 digest and a path inside the release.")
        sums[name] = digest
    return sums


def differences(stated: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Return what is missing, changed or not listed, one sentence each."""
    lines = [f"{name} is missing" for name in stated if name not in present]
    lines += [f"{name} was changed" for name in stated if name in present and present[name] != stated[name]]
    return lines + [f"{name} is not listed in {SUMS}" for name in present if name not in stated]


def sign(folder: Path, key: Path) -> None:
    """Sign the checksums with an SSH private key; writes SHA256SUMS.sig.

    Raises
    ------
    ReproodError
        When ssh-keygen is missing or refuses the key.
    """
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(folder / SUMS)]
    (folder / SIGNATURE).unlink(missing_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ReproodError("ssh-keygen was not found; install OpenSSH or publish without --sign.") from error
    if done.returncode:
        raise ReproodError(f"ssh-keygen could not sign with {key}: {(done.stderr or done.stdout).strip()}")


def check_signature(folder: Path, signers: Path | None) -> tuple[bool | None, str]:
    """Return whether the signature of the checksums is good, and a sentence.

    Parameters
    ----------
    folder : Path
        The release.
    signers : Path or None
        An `allowed_signers` file (see ssh-keygen(1)). Without it, only the match of signature and checksums is checked.

    Returns
    -------
    (bool or None, str)
        None when there is no signature and no signers were given.
    """
    signature, sums = folder / SIGNATURE, folder / SUMS
    if not signature.is_file():
        return (None, "not signed") if signers is None else (False, f"{SIGNATURE} is missing, and signers were given")
    if signers is None:
        command = ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature)]
        done = _run(command, sums)
        said = (done.stdout or done.stderr).strip().splitlines()
        text = said[0] if said else "no answer from ssh-keygen"
        return done.returncode == 0, text + (
            " (whose key this is was not checked; give --signers)" if done.returncode == 0 else ""
        )
    who = _run(["ssh-keygen", "-Y", "find-principals", "-f", str(signers), "-s", str(signature)], sums)
    if who.returncode:
        return False, f"signed with a key that is not in {signers}"
    principal = who.stdout.strip().splitlines()[0]
    command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-f", str(signers), "-I", principal, "-s", str(signature)]
    done = _run(command, sums)
    return done.returncode == 0, (done.stdout or done.stderr).strip().splitlines()[0]


def _run(command: list[str], sums: Path) -> "subprocess.CompletedProcess[str]":
    try:
        with open(sums, encoding="utf-8") as stream:
            return subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ReproodError("ssh-keygen was not found; install OpenSSH to check the signature.") from error
