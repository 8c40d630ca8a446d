"""What happens to the suite on a real Slurm: runs it on the cluster of `slurm.py` and checks the outcome.

    export PYTHONPATH=tests/support
    python tests/cluster/slurm.py run python tests/cluster/scenarios.py FOLDER [SCENARIO...]

FOLDER is a scratch folder. Scenarios: suite, failing, group, preempted, node, killed, gpus; all of them by default.
Each prints what was checked and the accounting lines of its jobs. The Python that runs this needs `reprood[cluster]`.
"""

import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import slurm
import yaml
from checkout import Checkout

ON_SLURM = ("--workflow-profile", "profiles/slurm", "--cores", "2", "--resources", "mem_mb=8000", "gpu=1",
            "--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "20")  # fmt: skip
SMALL = ("--cores", "1", "--groups", "train=score", "--group-components", "score=10", "--set-resources",
         "train:runtime=30", "predict:runtime=10")  # fmt: skip
RUN = "runs/long/erm/{seed}"
METRICS = "results/long/runs/long/erm/0/metrics.csv"
EPOCHS = 300  # of the long training: half a minute on an idle core
EVIDENCE = (".safetensors", ".parquet", ".csv", ".npz", ".npy")  # what holds no times


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def long_suite(folder: Path, epochs: int, **settings: object) -> str:
    """Write a suite of one long training with three seeds; give its path below the checkout."""
    text = yaml.safe_load((folder / "config/suites/smoke.yaml").read_text())
    text["benchmarks"] = {"long": text["benchmarks"]["smoke_letters"]}
    text["methods"] = {"erm": text["methods"]["erm"]}
    text["settings"]["training"].update({"epochs": epochs, **settings})
    text |= {"title": "One long training", "runs": [{"benchmark": "long", "methods": ["erm"]}], "seeds": [0, 1, 2]}
    del text["studies"]
    (folder / "config/suites/long.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    return "config/suites/long.yaml"


class Snakemake:
    """A Snakemake process on the cluster, in the background."""

    def __init__(self, checkout: Checkout, suite: str, *arguments: str) -> None:
        self.checkout = checkout
        self.log = checkout.folder / "snakemake.log"
        if arguments and not arguments[0].startswith("-"):
            arguments = ("--", *arguments)  # targets only
        command = ["snakemake", *ON_SLURM, "--config", f"suite={suite}", "checkpoint_seconds=1", *arguments]
        with open(self.log, "a") as stream:
            self.process = subprocess.Popen(
                command, cwd=checkout.folder, env=checkout.env, stdout=stream, stderr=stream, start_new_session=True
            )
        atexit.register(self.process.kill)  # a scenario that fails leaves none behind

    def wait(self, *, fails: bool = False, seconds: float = 1800) -> str:
        """Return the output once it has ended as expected."""
        code = self.process.wait(seconds)
        text = self.log.read_text()
        assert bool(code) == fails, f"Snakemake ended with {code}:\n{text[-8000:]}"
        return text

    def job(self, target: str) -> str:
        """Wait until the Slurm job of a run is running and return its id (the comment names rule and wildcards)."""
        found: list[str] = []

        def running() -> bool:
            self.still_there()
            rows = slurm.call("squeue", "-h", "-t", "RUNNING", "-o", "%i|%k").splitlines()
            found[:] = [row.split("|")[0] for row in rows if target in row.split("|")[1]]
            return bool(found)

        slurm.wait_for(f"the job of {target}", running, 900)
        return found[0]

    def still_there(self) -> None:
        """Fail when Snakemake has ended already."""
        if self.process.poll() is not None:
            raise AssertionError(f"Snakemake has ended early:\n{self.log.read_text()[-8000:]}")


def training(checkout: Checkout, seed: int = 0) -> dict[str, object] | None:
    """Return the progress of a training from its heartbeat; None before the first one."""
    path = checkout.folder / f"logs/heartbeat/long.erm.{seed}.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        found: dict[str, object] = json.loads(path.read_text())
        return found
    return None


def wait_for_epoch(checkout: Checkout, epoch: int, main: Snakemake, seed: int = 0) -> int:
    """Wait until a training has passed an epoch (and has a checkpoint); give the epoch that it has reached."""
    reached = 0

    def passed() -> bool:
        nonlocal reached
        main.still_there()
        beat = training(checkout, seed) or {}
        reached = int(str(beat.get("epoch", 0)))
        return reached >= epoch and any((checkout.folder / f"state/train/long/erm/{seed}").rglob("*.checkpoint"))

    slurm.wait_for(f"epoch {epoch}", passed, 600)
    return reached


def digests(folder: Path, *parts: str) -> dict[str, str]:
    """Return the SHA-256 of every result file without durations."""
    files = sorted(path for part in parts for path in (folder / part).rglob("*") if path.suffix in EVIDENCE)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def compare(one: Path, other: Path, *parts: str) -> int:
    """Return the number of files that are equal bit for bit; an error names those that differ."""
    first, second = digests(one, *parts), digests(other, *parts)
    assert first, f"no results below {one}"
    assert set(first) == set(second), sorted(set(first) ^ set(second))[:5]
    different = [name for name in first if first[name] != second[name]]
    assert not different, f"{len(different)} of {len(first)} files differ: {different[:5]}"
    return len(first)


def accounting(main: Snakemake, *options: str) -> str:
    """Return the accounting lines of all jobs submitted by Snakemake in a checkout (by default without their steps)."""
    time.sleep(3)
    runs = ",".join(re.findall(r"SLURM run ID: (\S+)", main.log.read_text()))
    fields = "JobID%6,State%14,ExitCode,NodeList%8,ReqCPUS%7,ReqMem,Timelimit%12,AllocTRES%46,Elapsed,Comment%46"
    options = options or ("-X", f"--format={fields}")
    return slurm.call("sacct", "--duplicates", "--name", runs, "--starttime", "now-1day", *options) if runs else ""


def suite(work: Path) -> None:
    """Run the suite `smoke` on Slurm, in groups, and compare with the same suite on this machine."""
    there = Checkout(work / "slurm")
    here = Checkout(work / "local", fill=not (work / "local").exists())
    if here.plan():  # a finished one is used again
        begin = time.monotonic()
        here.snakemake()
        say(f"suite: {time.monotonic() - begin:.0f} s locally with --cores 2")
    begin = time.monotonic()
    main = Snakemake(there, "smoke", *SMALL)
    main.wait()
    seconds = time.monotonic() - begin
    same = compare(here.folder, there.folder, "data", "runs", "results")
    assert there.plan() == {}, "something would run again on the local machine"
    say(f"suite: {seconds:.0f} s on Slurm; {same} result files agree bit for bit")
    say(accounting(main))
    say(accounting(main, "--format=JobID%9,State,Elapsed,TotalCPU,MaxRSS"))


def reference(work: Path) -> Path:
    """Run the long training without any disturbance, on this machine."""
    folder = work / "undisturbed"
    checkout = Checkout(folder, fill=not folder.exists())  # a finished one is used again
    checkout.snakemake(METRICS, suite=long_suite(folder, EPOCHS))
    return folder


def prepared(work: Path, scenario: str) -> Checkout:
    """Return a checkout that has the data already, so that its first Slurm job is a training."""
    folder = work / "prepared"
    source = Checkout(folder, fill=not folder.exists())
    source.snakemake("data/benchmarks/long/lint.json", "--until", "lint_benchmark", suite=long_suite(folder, EPOCHS))
    checkout = Checkout(work / scenario)
    for part in ("data", ".snakemake/metadata"):
        shutil.copytree(folder / part, checkout.folder / part)
    return checkout


def failing(work: Path) -> None:
    """Check that a failed job is tried again and that one that always fails ends with its own message."""
    checkout = prepared(work, "failing")
    name = long_suite(checkout.folder, 2)
    code = (
        "from pathlib import Path; import sys; from snakemake.common.configfile import load_configfile as load\n"
        "from reprood.cli.main import state_key; from reprood.pipeline.plan import Plan\n"
        f"plan = Plan({{**load('config/config.yaml'), 'suite': {name!r}}}, Path.cwd())\n"
        "print(state_key(plan.train_parameters('long', 'erm', 0), plan.code_of('long', 'erm', 'reprood.train.run')))"
    )
    key = checkout.run(sys.executable, "-c", code).stdout.strip()
    state = checkout.folder / "state/train/long/erm/0" / key
    state.mkdir(parents=True)
    with open(state / "lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as if somebody trained the same run
        main = Snakemake(checkout, name, RUN.format(seed=0) + "/model.safetensors")
        slurm.wait_for("the failure", lambda: "FAILED" in accounting(main), 240)
    text = main.wait()
    assert "Another process is training long/erm/0" in text
    assert "Trying to restart job" in text
    say("failing: the first try failed with its sentence in Snakemake's output, the second one succeeded")
    say(accounting(main))

    name = long_suite(checkout.folder, 2, lr=1e9)
    main = Snakemake(checkout, name, RUN.format(seed=1) + "/model.safetensors")
    text = main.wait(fails=True)
    sentence = next(line for line in text.splitlines() if "long/erm/1" in line and "error:" in line)
    assert not (checkout.folder / RUN.format(seed=1) / "model.safetensors").exists()
    say(f"failing: after two tries Snakemake ends with an error and shows: {sentence.strip()}")
    say(accounting(main))


def group(work: Path) -> None:
    """Let a member of a group fail: the results of the others stay, and only the missing ones run again."""
    checkout = prepared(work, "group")
    name = long_suite(checkout.folder, 2)
    path = checkout.folder / name
    text = yaml.safe_load(path.read_text())
    text["methods"]["broken"] = {"use": "erm", "label": "Broken", "set": {"training": {"lr": 1e9}}}
    text["runs"][0]["methods"].append("broken")
    path.write_text(yaml.safe_dump(text, sort_keys=False))
    targets = [f"runs/long/{method}/0/predictions.parquet" for method in ("erm", "broken")]
    main = Snakemake(checkout, name, *SMALL, "--retries", "0", "--", *targets)
    output = main.wait(fails=True)
    assert "long/broken/0" in output
    assert "the training diverged" in output
    kept = [target for target in targets if (checkout.folder / target).exists()]
    assert kept == targets[:1], kept
    text["methods"]["broken"]["set"]["training"]["lr"] = 0.01
    path.write_text(yaml.safe_dump(text, sort_keys=False))
    again = checkout.plan(*targets, suite=name)
    assert again == {"train": 1, "predict": 1}, again
    Snakemake(checkout, name, *SMALL, "--", *targets).wait()
    say("group: the good member's files stayed; after the correction only the other one ran")
    say(accounting(main))


def preempted(work: Path) -> None:
    """Requeue, preempt and cancel a training within an epoch: it ends with the same bits."""
    undisturbed = reference(work)
    checkout = prepared(work, "preempted")
    name = long_suite(checkout.folder, EPOCHS)
    main = Snakemake(checkout, name, METRICS)
    reached = []
    job = main.job("rule_train")
    reached.append(wait_for_epoch(checkout, 30, main))
    slurm.call("scontrol", "requeue", job)
    slurm.wait_for("the requeue", lambda: training_of(job) != "RUNNING", 30)

    assert main.job("rule_train") == job
    reached.append(wait_for_epoch(checkout, reached[-1] + 60, main))
    node = slurm.call("squeue", "-h", "-j", job, "-o", "%N").strip()
    urgent = ("sbatch", "--parsable", "-p", "urgent", "-w", node, "--exclusive", "--mem=0", "-o", "/dev/null")
    slurm.call(*urgent, "--wrap", "sleep 5")
    slurm.wait_for("the preemption", lambda: training_of(job) != "RUNNING", 60)

    assert main.job("rule_train") == job
    reached.append(wait_for_epoch(checkout, reached[-1] + 60, main))
    slurm.call("scancel", job)
    main.wait()
    finish("preempted: requeued, preempted by an urgent job and cancelled", undisturbed, checkout, reached, main)


def training_of(job: str) -> str:
    """Return the state of a job; empty when the queue no longer has it."""
    return slurm.call("squeue", "-h", "-j", job, "-o", "%T", check=False).strip()


def finish(what: str, undisturbed: Path, checkout: Checkout, reached: list[int], main: Snakemake) -> None:
    """Check for the bits of the undisturbed training, and for the number of times the training was resumed."""
    run = RUN.format(seed=0)
    same = compare(undisturbed, checkout.folder, run)
    phases = json.loads((checkout.folder / run / "run.json").read_text())["phases"]
    assert phases[0]["resumed"] == len(reached), phases
    say(f"{what} after epochs {reached}; it resumed {len(reached)} times from its checkpoint; {same} files of the run")
    say("agree bit for bit with a training that nothing disturbed")
    say(accounting(main))


def node(work: Path) -> None:
    """Kill the node: Slurm starts the training again on another one while Snakemake waits."""
    undisturbed = reference(work)
    checkout = prepared(work, "node")
    name = long_suite(checkout.folder, EPOCHS)
    main = Snakemake(checkout, name, METRICS)
    job = main.job("rule_train")
    reached = [wait_for_epoch(checkout, 60, main)]
    dead = slurm.call("squeue", "-h", "-j", job, "-o", "%N").strip()
    killed = slurm.kill_node(dead)
    assert killed >= 4, f"only {killed} processes were killed"
    slurm.wait_for("Slurm to notice", lambda: slurm.state(dead).startswith("DOWN"), 90)
    again = main.job("rule_train")
    assert again == job
    moved = slurm.call("squeue", "-h", "-j", job, "-o", "%N").strip()
    assert moved != dead
    main.wait()
    slurm.start_node(dead)
    slurm.wait_for("the node", lambda: slurm.state(dead) == "IDLE", 60)
    finish(
        f"node: {dead} died with its {killed} processes, the job moved to {moved}", undisturbed, checkout, reached, main
    )


def killed(work: Path) -> None:
    """Kill Snakemake and cancel its job: after `snakemake --unlock` the same command finishes."""
    undisturbed = reference(work)
    checkout = prepared(work, "killed")
    name = long_suite(checkout.folder, EPOCHS)
    target = METRICS
    main = Snakemake(checkout, name, target)
    job = main.job("rule_train")
    reached = [wait_for_epoch(checkout, 60, main)]
    os.killpg(main.process.pid, signal.SIGKILL)
    main.process.wait()
    slurm.call("scancel", job)
    slurm.wait_for("the end of the job", lambda: not training_of(job), 60)
    text = Snakemake(checkout, name, target).wait(fails=True)
    assert "--unlock" in text, text[-3000:]
    checkout.run("snakemake", "--unlock", "--config", f"suite={name}")
    Snakemake(checkout, name, target).wait()
    finish(
        "killed: Snakemake was killed and its job cancelled; the same command after `snakemake --unlock`",
        undisturbed,
        checkout,
        reached,
        main,
    )


def given_devices() -> Iterator[tuple[str, str, str]]:
    """Yield (Slurm job, node, CUDA_VISIBLE_DEVICES) of every running training."""
    for pid in slurm.call("pgrep", "-f", "reprood train ", check=False).split():
        with contextlib.suppress(OSError):
            if b"\0train\0" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue
            words = Path(f"/proc/{pid}/environ").read_text().split("\0")
            values = dict(word.split("=", 1) for word in words if "=" in word)
            yield values["SLURM_JOB_ID"], values["SLURMD_NODENAME"], values.get("CUDA_VISIBLE_DEVICES", "none")


def gpus(work: Path) -> None:
    """Run three trainings with a GPU each at the same time: two on one node with different devices, one on another."""
    checkout = prepared(work, "gpus")
    name = long_suite(checkout.folder, EPOCHS)
    targets = [RUN.format(seed=seed) + "/model.safetensors" for seed in (0, 1, 2)]
    main = Snakemake(checkout, name, "--set-resources", "train:gpu=1", "--", *targets)
    seen: set[tuple[str, str, str]] = set()

    def three() -> bool:
        main.still_there()
        beats = [training(checkout, seed) for seed in (0, 1, 2)]
        seen.clear()
        seen.update(given_devices())
        return len(seen) == 3 and all(beat and int(str(beat["epoch"])) > 1 for beat in beats)

    slurm.wait_for("three trainings at once", three, 600)
    devices = sorted((node, device) for _, node, device in seen)
    assert devices == [("reprood1", "0"), ("reprood1", "1"), ("reprood2", "0")], devices
    main.wait()
    say(f"gpus: three trainings at once, on {devices}")
    say(accounting(main))


SCENARIOS: dict[str, Callable[[Path], None]] = {
    scenario.__name__: scenario for scenario in (suite, failing, group, preempted, node, killed, gpus)
}


def main(arguments: list[str]) -> None:
    """Run the scenarios that are named."""
    if not arguments or set(arguments[1:]) - set(SCENARIOS):
        sys.exit(f"scenarios.py: expected a scratch folder and names from: {', '.join(SCENARIOS)}.")
    work = Path(arguments[0]).resolve()
    for name in arguments[1:] or SCENARIOS:
        say(f"=== {name}: {SCENARIOS[name].__doc__}")
        SCENARIOS[name](work)


if __name__ == "__main__":
    main(sys.argv[1:])
