"""One Snakemake job as one Kubernetes Job, by `kubectl`: what `cluster-generic` calls (see config.yaml here).

    python job.py submit --cpus 1 --memory-mb 3000 --gpus 0 --minutes 60 SCRIPT    prints the Job's name
    python job.py status NAME                                                      running, success or failed
    python job.py cancel NAME...

The cluster's side (--image, --claim, --mount, --namespace) comes from the variable REPROOD_KUBERNETES.
`submit --print` shows the manifest instead of creating it.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

VARIABLE = "REPROOD_KUBERNETES"


def cluster(text: str) -> argparse.Namespace:
    """What the variable says of the cluster."""
    parser = argparse.ArgumentParser(prog=VARIABLE, description="Options in the variable.", exit_on_error=True)
    parser.add_argument("--image", required=True, help="the image with the environment of the lock (Dockerfile)")
    parser.add_argument("--claim", required=True, help="a ReadWriteMany volume claim that holds the checkout")
    parser.add_argument("--mount", required=True, help="where the claim is mounted: the same path here and in the pods")
    parser.add_argument("--namespace", default="default")
    return parser.parse_args(shlex.split(text))


def manifest(
    script: str, asked: argparse.Namespace, place: argparse.Namespace, folder: Path, name: str
) -> dict[str, Any]:
    """The Job: resources as asked, the script's text as its command, the files' owner as its user.

    A pod that is evicted, preempted or on a node that died is replaced and does not count as a failure (a training then
    goes on from its checkpoint); one whose command fails ends the Job at once, and Snakemake decides what follows.
    """
    amounts = {"cpu": str(asked.cpus), "memory": f"{asked.memory_mb}M"}
    if asked.gpus:
        amounts["nvidia.com/gpu"] = str(asked.gpus)
    container = {
        "name": "job",
        "image": place.image,
        "command": ["/bin/sh", "-c", script],
        "workingDir": str(folder),
        "env": [{"name": "PYTHONPATH", "value": str(folder / "src")}, {"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": "work", "mountPath": place.mount}],
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {"runAsUser": os.getuid(), "runAsGroup": os.getgid()},
        "containers": [container],
        "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": place.claim}}],
    }
    if asked.gpus:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    failure = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "job", "operator": "NotIn", "values": [0]}},
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": place.namespace, "labels": {"app": "reprood"}},
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": 60 * asked.minutes,
            "ttlSecondsAfterFinished": 86400,
            "podFailurePolicy": {"rules": failure},
            "template": {"metadata": {"labels": {"app": "reprood"}}, "spec": pod},
        },
    }


def kubectl(place: argparse.Namespace, *arguments: str, given: str = "") -> str:
    """Standard output of kubectl; one sentence when it fails."""
    command = ["kubectl", "--namespace", place.namespace, *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("job.py: error: there is no kubectl on PATH; install it and point it to the cluster.")
    if done.returncode:
        sys.exit(f"job.py: error: {shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def status(record: dict[str, Any]) -> str:
    """What Snakemake is told of a Job."""
    conditions = record.get("status", {}).get("conditions", [])
    true = {condition["type"] for condition in conditions if condition["status"] == "True"}
    return "success" if "Complete" in true else "failed" if "Failed" in true else "running"


def main(arguments: list[str]) -> None:
    """Submit, status or cancel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    orders = parser.add_subparsers(dest="order", required=True)
    submit = orders.add_parser("submit")
    for amount in ("cpus", "memory-mb", "gpus", "minutes"):
        submit.add_argument(f"--{amount}", type=int, required=True)
    submit.add_argument("--print", action="store_true", help="show the manifest, create nothing")
    submit.add_argument("script", type=Path)
    orders.add_parser("status").add_argument("name")
    orders.add_parser("cancel").add_argument("names", nargs="+")
    asked = parser.parse_args(arguments)
    if VARIABLE not in os.environ:
        sys.exit(f"job.py: error: the variable {VARIABLE} is not set (docs/cluster.md: image, claim, mount).")
    place = cluster(os.environ[VARIABLE])
    if asked.order == "submit":
        folder = Path.cwd()
        if not folder.is_relative_to(place.mount):
            sys.exit(f"job.py: error: {folder} is not below --mount {place.mount}; the pods would not see it.")
        name = f"reprood-{uuid.uuid4().hex[:12]}"
        text = json.dumps(manifest(asked.script.read_text(), asked, place, folder, name), indent=1)
        if asked.print:
            print(text)
            return
        kubectl(place, "create", "-f", "-", given=text)
        print(name)
    elif asked.order == "status":
        print(status(json.loads(kubectl(place, "get", "job", asked.name, "-o", "json"))))
    else:
        kubectl(place, "delete", "job", "--wait=false", "--ignore-not-found", *asked.names)


if __name__ == "__main__":
    main(sys.argv[1:])
