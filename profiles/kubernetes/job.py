"""Run one Snakemake job as one Kubernetes Job through `kubectl`; called by `cluster-generic` (see config.yaml here).

    python job.py submit --cpus 1 --memory-mb 3000 --gpus 0 --minutes 60 SCRIPT    prints the Job's name
    python job.py status NAME                                                      running, success or failed
    python job.py cancel NAME...

The cluster (image, claim, mount, namespace) is described in cluster.json next to this file, a copy of
cluster.example.json. `submit --print` shows the manifest instead of creating it.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTINGS = Path(__file__).with_name("cluster.json")


@dataclass(frozen=True)
class Cluster:
    """Where jobs run.

    Attributes
    ----------
    image : str
        The image with the environment of the lock (Dockerfile).
    claim : str
        A ReadWriteMany volume claim that holds the checkout.
    mount : str
        Where the claim is mounted: the same path here and in the pods.
    namespace : str
    """

    image: str
    claim: str
    mount: str
    namespace: str = "default"


def read_cluster(path: Path) -> Cluster:
    """Read the description of the cluster; a mistake ends the program with one sentence."""
    try:
        cluster = Cluster(**json.loads(path.read_text()))
    except FileNotFoundError:
        sys.exit(f"job.py: error: {path} is missing; copy cluster.example.json, fill it in (docs/how-to/cluster.md).")
    except (ValueError, TypeError) as error:
        sys.exit(f"job.py: error: {path}: {error}; expected the keys of cluster.example.json (docs/how-to/cluster.md).")
    return cluster


def manifest(script: str, options: argparse.Namespace, cluster: Cluster, folder: Path, name: str) -> dict[str, Any]:
    """Return the Job: resources of the options, the script's text as its command, the files' owner as its user.

    A pod that is evicted, preempted or on a node that died is replaced and does not count as a failure (a training then
    resumes from its checkpoint); one whose command fails ends the Job at once, and Snakemake decides what follows.
    """
    amounts = {"cpu": str(options.cpus), "memory": f"{options.memory_mb}M"}
    if options.gpus:
        amounts["nvidia.com/gpu"] = str(options.gpus)
    container = {
        "name": "job",
        "image": cluster.image,
        "command": ["/bin/sh", "-c", script],
        "workingDir": str(folder),
        "env": [{"name": "PYTHONPATH", "value": str(folder / "src")}, {"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": "work", "mountPath": cluster.mount}],
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {"runAsUser": os.getuid(), "runAsGroup": os.getgid()},
        "containers": [container],
        "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": cluster.claim}}],
    }
    if options.gpus:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    failure = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "job", "operator": "NotIn", "values": [0]}},
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": cluster.namespace, "labels": {"app": "reprood"}},
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": 60 * options.minutes,
            "ttlSecondsAfterFinished": 86400,
            "podFailurePolicy": {"rules": failure},
            "template": {"metadata": {"labels": {"app": "reprood"}}, "spec": pod},
        },
    }


def kubectl(cluster: Cluster, *arguments: str, given: str = "") -> str:
    """Return the standard output of kubectl; a failure ends the program with one sentence."""
    command = ["kubectl", "--namespace", cluster.namespace, *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("job.py: error: there is no kubectl on PATH; install it and point it to the cluster.")
    if done.returncode:
        sys.exit(f"job.py: error: {shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def status(record: dict[str, Any]) -> str:
    """Return the state of a Job for Snakemake."""
    conditions = record.get("status", {}).get("conditions", [])
    true = {condition["type"] for condition in conditions if condition["status"] == "True"}
    return "success" if "Complete" in true else "failed" if "Failed" in true else "running"


def main(arguments: list[str]) -> None:
    """Submit a job, print its status, or cancel jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    submit = commands.add_parser("submit")
    for amount in ("cpus", "memory-mb", "gpus", "minutes"):
        submit.add_argument(f"--{amount}", type=int, required=True)
    submit.add_argument("--print", action="store_true", help="show the manifest, create nothing")
    submit.add_argument("script", type=Path)
    commands.add_parser("status").add_argument("name")
    commands.add_parser("cancel").add_argument("names", nargs="+")
    options = parser.parse_args(arguments)
    cluster = read_cluster(SETTINGS)
    if options.command == "submit":
        folder = Path.cwd()
        if not folder.is_relative_to(cluster.mount):
            sys.exit(
                f"job.py: error: {folder} is not in {cluster.mount} (cluster.json: mount), so pods would not see it."
            )
        name = f"reprood-{uuid.uuid4().hex[:12]}"
        text = json.dumps(manifest(options.script.read_text(), options, cluster, folder, name), indent=1)
        if options.print:
            print(text)
            return
        kubectl(cluster, "create", "-f", "-", given=text)
        print(name)
    elif options.command == "status":
        print(status(json.loads(kubectl(cluster, "get", "job", options.name, "-o", "json"))))
    else:
        kubectl(cluster, "delete", "job", "--wait=false", "--ignore-not-found", *options.names)


if __name__ == "__main__":
    main(sys.argv[1:])
