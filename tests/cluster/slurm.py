"""A Slurm cluster on this machine, for tests: two nodes, two partitions, three fake GPUs, real accounting.

    python tests/cluster/slurm.py up          install what is missing, write the configuration, start everything
    python tests/cluster/slurm.py down        stop everything and remove the configuration
    python tests/cluster/slurm.py run CMD...  up, the command, down (also when the command fails)
    python tests/cluster/slurm.py lines       what the accounting knows of the jobs

Needs root on a Debian-like machine. Everything listens on 127.0.0.1. An /etc/slurm/slurm.conf that is not this script's
is never touched: then the machine belongs to a cluster already, and `up` refuses.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BASE = Path("/var/tmp/reprood-slurm")
CONF = Path("/etc/slurm")
MARK = "# written by reprood's tests/cluster/slurm.py\n"
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge", "mariadb-server", "iproute2")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
DATABASE_PORT = 13306
# The plugin for Snakemake removes SLURM_* from the jobs' environment, so the configuration must be where Slurm looks.
FILES = ("slurm.conf", "gres.conf", "slurmdbd.conf")
NODES = {"reprood1": 17001, "reprood2": 17002}

SLURM = """
ClusterName=reprood
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=cred_expire=10
StateSaveLocation={base}/ctld
SlurmdSpoolDir={base}/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/affinity
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
SlurmdTimeout=20
ReturnToService=2
MinJobAge=300
MpiDefault=none
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
NodeName=reprood1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=8000 Gres=gpu:2 Weight=1
NodeName=reprood2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=4000 Gres=gpu:1 Weight=9
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
# Regular files are refused as devices; these are copies of /dev/null.
GRES = """
AutoDetect=off
NodeName=reprood1 Name=gpu Count=2 File={base}/gpu[0-1]
NodeName=reprood2 Name=gpu Count=1 File={base}/gpu2
"""
DBD = """
DbdHost=localhost
DbdAddr=127.0.0.1
CommunicationParameters=NoInAddrAny
SlurmUser=root
AuthType=auth/munge
PidFile={base}/slurmdbd.pid
LogFile={base}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port}
StorageLoc=reprood_slurm
StorageUser=slurm
StoragePass={password}
"""


def stop_with(sentence: str) -> None:
    """Exit with one message."""
    sys.exit(f"slurm.py: {sentence}")


def call(*command: str, check: bool = True, **options: object) -> str:
    """Return the standard output of a command; raise with its standard error when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll until the condition holds."""
    stop = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > stop:
            raise RuntimeError(f"waited {seconds:.0f} s in vain for {what}; see the logs in {BASE}")
        time.sleep(0.2)


def as_user(name: str) -> dict[str, int]:
    """Return options of `subprocess` that run a command as a system user."""
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid}


def start(name: str, *command: str, **options: object) -> int:
    """Start a daemon that outlives this script; its process id is kept for `down`."""
    with open(BASE / f"{name}.out", "a") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", **options
        )
    with open(BASE / "started", "a") as stream:
        stream.write(f"{process.pid} {command[0].rsplit('/', 1)[-1]} {name}\n")
    return process.pid


def up() -> None:
    """Start munge, MariaDB, slurmdbd, slurmctld and a slurmd for each node."""
    if os.geteuid() != 0:
        stop_with("needs root (it installs packages and starts system daemons).")
    present = CONF / "slurm.conf"
    if present.exists() and not ours(present):
        stop_with(f"{present} is not this script's; this machine belongs to a cluster, use that.")
    if (BASE / "started").exists():
        down()
    install()
    BASE.mkdir(mode=0o755, exist_ok=True)
    try:
        configure()
        start_munge()
        start_database()
        start_slurm()
    except Exception:
        for path in sorted(BASE.glob("*.log")) + sorted(BASE.glob("*.out")):
            print(f"--- {path}", path.read_text(errors="replace")[-1500:], sep="\n", file=sys.stderr)
        down()
        raise


def ours(path: Path) -> bool:
    """Return whether this script wrote a file."""
    return path.exists() and path.read_text().startswith(MARK)


def install() -> None:
    """Install the packages that are missing, without starting their services."""
    if all(shutil.which(daemon) for daemon in DAEMONS):
        return
    if not shutil.which("apt-get"):
        stop_with(f"{', '.join(d for d in DAEMONS if not shutil.which(d))}: not installed, and there is no apt-get.")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    call("apt-get", "update", "-qq", env=environment)
    call("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, env=environment)


def configure() -> None:
    """Write the configuration and make the devices."""
    password = secrets.token_hex(16)
    values = {"base": BASE, "host": os.uname().nodename, "port": DATABASE_PORT, "password": password}
    CONF.mkdir(exist_ok=True)
    for name, text in zip(FILES, (SLURM, GRES, DBD), strict=True):
        path = CONF / name
        path.touch(mode=0o600 if name == "slurmdbd.conf" else 0o644)
        path.write_text(MARK + text.format(**values))
    for folder in ("ctld", *NODES):
        (BASE / folder).mkdir(exist_ok=True)
    for number in range(3):
        device = BASE / f"gpu{number}"
        if not device.exists():
            os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
    (BASE / "password").touch(mode=0o600)
    (BASE / "password").write_text(password)


def start_munge() -> None:
    """Start the daemon that authenticates Slurm's messages."""
    key, run = Path("/etc/munge/munge.key"), Path("/run/munge")
    if not key.exists():
        call("mungekey", "--create", **as_user("munge"))
    run.mkdir(exist_ok=True)
    shutil.chown(run, "munge", "munge")
    start("munge", shutil.which("munged") or "munged", "--foreground", "--force", **as_user("munge"))
    wait_for("munge", lambda: "STATUS" in call("sh", "-c", "munge -n | unmunge", check=False))


def start_database() -> None:
    """Start a MariaDB server of our own with nothing but the accounting, and slurmdbd."""
    data, socket = BASE / "database", BASE / "database.sock"
    data.mkdir(exist_ok=True)
    shutil.chown(data, "mysql", "mysql")
    (BASE / "mysql").mkdir(exist_ok=True)
    shutil.chown(BASE / "mysql", "mysql", "mysql")
    socket = BASE / "mysql" / "sock"
    call("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=mysql", "--skip-test-db",
         "--auth-root-authentication-method=socket")  # fmt: skip
    start("mariadb", shutil.which("mariadbd") or "mariadbd", "--no-defaults", f"--datadir={data}",
          f"--socket={socket}", "--bind-address=127.0.0.1", f"--port={DATABASE_PORT}",
          "--innodb-buffer-pool-size=32M", "--innodb-lock-wait-timeout=900", "--skip-log-bin",
          f"--pid-file={BASE / 'mysql' / 'pid'}", **as_user("mysql"))  # fmt: skip
    admin = ("mariadb", "--no-defaults", f"--socket={socket}", "--user=root")
    wait_for("MariaDB", lambda: call(*admin, "-e", "select 'there'", check=False).startswith("there"))
    password = (BASE / "password").read_text()
    statements = (
        "create database reprood_slurm",
        f"create user slurm@'127.0.0.1' identified by '{password}'",
        f"create user slurm@localhost identified by '{password}'",
        "grant all on reprood_slurm.* to slurm@'127.0.0.1'",
        "grant all on reprood_slurm.* to slurm@localhost",
    )
    call(*admin, input=";".join(statements) + ";")
    start("slurmdbd", shutil.which("slurmdbd") or "slurmdbd", "-D")
    wait_for("slurmdbd", lambda: "Cluster" in call("sacctmgr", "show", "cluster", check=False))
    call("sacctmgr", "--immediate", "add", "cluster", "reprood", check=False)


def start_slurm() -> None:
    """Start the controller and the nodes."""
    start("slurmctld", shutil.which("slurmctld") or "slurmctld", "-D", "-c")
    wait_for("slurmctld", lambda: "reprood1" in call("sinfo", "-N", "-h", check=False))
    for node in NODES:
        start_node(node)
    wait_for("the nodes", lambda: all(state(node) in ("IDLE", "MIXED", "ALLOCATED") for node in NODES), 60)


def start_node(node: str) -> None:
    """Start the daemon of a node."""
    start(f"slurmd-{node}", shutil.which("slurmd") or "slurmd", "-D", "-N", node)


def state(node: str) -> str:
    """Return the state of a node: IDLE, ALLOCATED, DOWN*, ..."""
    text = call("scontrol", "show", "node", node, "--oneliner", check=False)
    return text.partition(" State=")[2].split(" ")[0].split("+")[0]


def started() -> list[tuple[int, str, str]]:
    """Return process id, program and name of the daemons that were started."""
    path = BASE / "started"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), program, name) for pid, program, name in (line.split(" ", 2) for line in lines)]


def alive(pid: int, program: str) -> bool:
    """Return whether a process exists and runs this program (an id may have been reused)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)
        return words[1].split()[0] != "Z" and words[0].split("(", 1)[1] == program[:15]
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """Return every process below one, deepest last."""
    found = [int(child) for child in call("ps", "-o", "pid=", "--ppid", str(pid), check=False).split()]
    return [*found, *(below for child in found for below in children(child))]


def kill_node(node: str) -> int:
    """Kill the daemon of a node and everything that it runs at once, as a power cut does; return their number."""
    victims = [pid for pid, program, name in started() if name == f"slurmd-{node}" and alive(pid, program)]
    for job in call("squeue", "-h", "-w", node, "-o", "%A").split():
        for step in call("pgrep", "-f", rf"^slurmstepd: \[{job}\.", check=False).split():
            victims += [int(step), *children(int(step))]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(victims)


def down() -> None:
    """Stop what was started, in the opposite order, and remove configuration and state."""
    if not ours(CONF / "slurm.conf"):
        return  # nothing of ours, and jobs of a real cluster are not ours to cancel
    call("scancel", "--me", check=False)
    time.sleep(1)
    for signal_sent in (signal.SIGTERM, signal.SIGKILL):
        left = [(pid, program) for pid, program, _ in reversed(started()) if alive(pid, program)]
        for pid, program in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_sent)
            stop = time.monotonic() + 10
            while alive(pid, program) and time.monotonic() < stop:
                time.sleep(0.1)
    for name in FILES:
        if ours(CONF / name):
            (CONF / name).unlink()
    shutil.rmtree(BASE, ignore_errors=True)


def lines() -> str:
    """Return the accounting lines of all jobs since the cluster was started."""
    fields = "JobID,Partition,State,ExitCode,NodeList,ReqCPUS,ReqMem,AllocTRES%40,Elapsed,TotalCPU,MaxRSS,Comment%44"
    return call("sacct", "--allusers", "--duplicates", "--starttime", "now-1day", f"--format={fields}")


def main(arguments: list[str]) -> int:
    """Dispatch on the first word."""
    order, rest = (arguments[0] if arguments else "", arguments[1:])
    if order == "up":
        up()
        print(call("sinfo"), end="")
    elif order == "down":
        down()
    elif order == "lines":
        print(lines(), end="")
    elif order == "run" and rest:
        try:
            up()
            return subprocess.run(rest, check=False).returncode
        finally:
            down()
    else:
        stop_with("expected up, down, lines, or run COMMAND.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
