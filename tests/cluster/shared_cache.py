"""Two users share a DVC cache and a folder of data: real accounts, real permissions (needs root; takes about a minute).

    python tests/cluster/shared_cache.py FOLDER CHECKOUT

FOLDER is a new folder to work in, CHECKOUT a checkout with a finished suite `smoke`, which is copied. Makes a group and
two users for the time of the test. Checks that what one user commits the other checks out without a remote, in both
directions and whatever their umask is; that nobody outside the group can read it; that neither can damage what the
other has stored; and that a read-only folder of data serves both. docs/how-to/cluster.md has the commands for people.
"""

import contextlib
import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GROUP = "reprood-lab"
USERS = {"reprood-anna": 0o022, "reprood-ben": 0o077}  # name -> umask
STRANGER = "nobody"
VERSIONED = (".dvc", ".dvcignore", ".gitignore", "Makefile")


def call(*command: str) -> str:
    """Return the standard output of a command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class User:
    """Runs commands as an account, with its umask."""

    def __init__(self, name: str, umask: int, home: Path) -> None:
        self.account, self.umask, self.home = pwd.getpwnam(name), umask, home

    def run(self, folder: Path, *command: str, fails: bool = False, **variables: str) -> str:
        """Return the output of a command; raise when it ends otherwise than expected."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "GIT_CONFIG_GLOBAL": str(self.home.parent / "gitconfig"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "JUPYTER_PATH": os.environ.get("JUPYTER_PATH", ""),
            "PYTHONPATH": str(folder / "src"),
            **variables,
        }
        groups = os.getgrouplist(self.account.pw_name, self.account.pw_gid)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, umask=self.umask,
            user=self.account.pw_uid, group=self.account.pw_gid, extra_groups=groups,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert bool(done.returncode) == fails, f"{self.account.pw_name}: {' '.join(command)}\n{output[-4000:]}"
        return output


@contextlib.contextmanager
def accounts(home: Path) -> Iterator[list[User]]:
    """Create the group and its users for the time of the block."""
    try:
        call("groupadd", GROUP)
        for name in USERS:
            call("useradd", "--no-create-home", "--user-group", "--groups", GROUP, name)
            (home / name).mkdir()
            shutil.chown(home / name, name, name)
        yield [User(name, umask, home / name) for name, umask in USERS.items()]
    finally:
        for name in USERS:
            subprocess.run(["userdel", name], check=False, capture_output=True)
        subprocess.run(["groupdel", GROUP], check=False, capture_output=True)


def shared_folder(path: Path) -> None:
    """Create the folder as an administrator: the group owns it and everything below it."""
    path.mkdir()
    shutil.chown(path, "root", GROUP)
    path.chmod(0o2770)


def use_cache(user: User, folder: Path, cache: Path) -> None:
    """Configure the cache as each user does once in a checkout."""
    user.run(folder, "dvc", "config", "--local", "cache.dir", str(cache))
    user.run(folder, "dvc", "config", "--local", "cache.shared", "group")


def plan(user: User, folder: Path) -> str:
    """Return what Snakemake would run."""
    return user.run(folder, "snakemake", "-n", "--config", "suite=smoke")


def check_modes(cache: Path) -> int:
    """Check that folders of the cache are writable by the group and objects read-only; return the number of objects."""
    group, objects = grp.getgrnam(GROUP).gr_gid, 0
    for path in cache.rglob("*"):
        found = path.lstat()
        assert found.st_gid == group, f"{path} belongs to group {found.st_gid}"
        if path.is_dir():
            assert found.st_mode & 0o2070 == 0o2070, f"{path} has mode {stat.filemode(found.st_mode)}"
        elif "files" in path.parts:
            assert found.st_mode & 0o040, f"{path} has mode {stat.filemode(found.st_mode)}"
            assert not found.st_mode & 0o222, f"{path} has mode {stat.filemode(found.st_mode)}"
            objects += 1
    return objects


def main(folder: Path, finished: Path) -> None:
    """Run the checks with two users."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "gitconfig").write_text("[user]\nname = Tester\nemail = tester@example.org\n[safe]\ndirectory = *\n")
    with accounts(folder) as (anna, ben):
        cache, data = folder / "cache", folder / "mirror"
        shared_folder(cache)
        first, second = folder / "reprood-anna" / "reprood", folder / "reprood-ben" / "reprood"
        shutil.copytree(finished, first, symlinks=True)
        for name in VERSIONED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            if not (first / name).exists():
                copy(source, first / name)
        call("chown", "-R", f"{anna.account.pw_uid}:{anna.account.pw_gid}", str(first))

        # Anna commits her results into the shared cache
        origin = folder / "reprood.git"
        shared_folder(origin)
        anna.run(origin, "git", "init", "-q", "--bare", "--shared=group", "-b", "main")
        anna.run(first, "git", "init", "-q", "-b", "main")
        anna.run(first, "git", "remote", "add", "origin", str(origin))
        use_cache(anna, first, cache)
        anna.run(first, "dvc", "commit", "--force", "reproduce")
        anna.run(first, "git", "add", "-A")
        anna.run(first, "git", "commit", "-q", "-m", "Results")
        anna.run(first, "git", "push", "-q", "origin", "main")
        objects = check_modes(cache)
        print(f"{objects} objects stored by the first user")

        # Ben clones the repository, and has the results without a remote
        ben.run(ben.home, "git", "clone", "-q", str(origin), str(second))
        use_cache(ben, second, cache)
        ben.run(second, "dvc", "checkout")
        assert "Nothing to be done" in plan(ben, second)

        # Ben changes something; his umask is 077, and Anna can use what he stores
        target = "reports/smoke/tables/smoke_letters/classification.csv"
        assert (second / target).exists()
        source = second / "src/reprood/report/tables.py"
        source.write_text(source.read_text() + "\n\nEDITED = 1\n")
        ben.run(second, "snakemake", "--cores", "1", "--config", "suite=smoke", "--until", "draw_smoke_letters")
        ben.run(second, "dvc", "commit", "--force", "reproduce")
        ben.run(second, "git", "commit", "-q", "-a", "-m", "Tables")
        ben.run(second, "git", "push", "-q", "origin", "main")
        more = check_modes(cache)
        assert more > objects
        anna.run(first, "git", "pull", "-q", "origin", "main")
        anna.run(first, "dvc", "checkout")
        anna.run(first, "dvc", "status", "--quiet")
        print(f"{more - objects} objects stored by the other user, under umask 077, and checked out by the first")

        # nobody can change what another has stored, or read it from outside of the group
        stored = next(
            path for path in (cache / "files").rglob("*") if path.is_file() and path.owner() == "reprood-anna"
        )
        ben.run(second, "sh", "-c", f"echo damage >> {stored}", fails=True)
        User(STRANGER, 0o022, anna.home).run(folder, "cat", str(stored), fails=True)

        # a read-only folder of data serves both
        shared_folder(data)
        (data / "my_letters").mkdir()
        images = "import numpy, sys; rng = numpy.random.default_rng(0); numpy.savez(sys.argv[1], "
        images += "images=rng.integers(0, 256, (40, 28, 28), dtype=numpy.uint8), labels=numpy.arange(40) % 4)"
        call(sys.executable, "-c", images, str(data / "my_letters" / "letters.npz"))
        call("chgrp", "-R", GROUP, str(data))
        call("chmod", "-R", "u=rwX,g=rX,o=", str(data))
        entry = {"title": "Letters", "licence": "ours", "files": {"letters.npz": {}}}
        entry["splits"] = {"test": {"reader": "npz", "files": ["letters.npz"]}}
        for user, checkout in ((anna, first), (ben, second)):
            config = f"datasets={{my_letters: {entry!r}}}"
            user.run(checkout, "snakemake", "--cores", "1", "data/my_letters/test/meta.json", "--config", "suite=smoke",
                     config, f'mirrors=["{data}"]', "offline=true")  # fmt: skip
            user.run(checkout, "sh", "-c", f"touch {data}/my_letters/more", fails=True)
        same = {(home / "data/my_letters/test/images.npy").read_bytes() for home in (first, second)}
        assert len(same) == 1
        print("both made the same arrays from the shared folder, and neither can write there")


if __name__ == "__main__":
    if os.geteuid() != 0 or len(sys.argv) != 3:
        sys.exit("shared_cache.py: expected root, a new folder and a checkout with a finished suite smoke.")
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
