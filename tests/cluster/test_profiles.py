"""The cluster profiles: known options, a memory and a time for every job, groups that fit a node, valid manifests."""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from checkout import ROOT, Checkout
from snakemake.cli import get_argument_parser
from snakemake.resources import GroupResources, Resource, Resources

pytestmark = pytest.mark.slow

CLUSTERS = ("slurm", "kubernetes")
SHARED = ("max-checksum-file-size", "rerun-triggers", "rerun-incomplete", "keep-going", "scheduler", "show-failed-logs")
PLUGINS = {"slurm": "slurm", "kubernetes": "cluster_generic"}


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


def amounts(entries: list[str]) -> dict[str, int]:
    return {key: int(value) for key, value in (entry.split("=") for entry in entries)}


def plugin(name: str):
    package = f"snakemake_executor_plugin_{PLUGINS[name]}"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package} (pip install reprood[cluster])")
    return importlib.import_module(package)


@pytest.fixture(scope="module")
def planned() -> dict[str, list[dict[str, int]]]:
    """Return rule -> resources of each of its jobs in the suite `smoke`, from a dry run."""
    command = [sys.executable, "-m", "snakemake", "-n", "--forceall", "--config", "suite=smoke"]
    environment = Checkout(ROOT, fill=False).env
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs: dict[str, list[dict[str, int]]] = defaultdict(list)
    for block in re.split(r"\n(?=\s*(?:local)?rule )", done.stdout + done.stderr):  # members of groups are indented
        rule = re.match(r"\s*(local)?rule (\w+):", block)
        requested = re.search(r"^ +resources: (.*)$", block, flags=re.MULTILINE)
        if rule and requested and not rule[1]:
            threads = re.search(r"^ +threads: (\d+)$", block, flags=re.MULTILINE)
            found = dict(part.split("=", 1) for part in requested[1].split(", "))
            numbers = {key: int(found[key]) for key in ("mem_mb", "runtime", "gpu") if found.get(key, "").isdigit()}
            jobs[rule[2]].append({**numbers, "_cores": int(threads[1]) if threads else 1})
    jobs.pop("all", None)  # runs nothing
    jobs.pop("default", None)  # the same
    return jobs


LOOPS = {
    "evaluate": "evaluate",
    "report": "draw",
    "predict": "adopt",
}  # rule file -> beginning of the names of rules in a loop


def loop_of(rule: str) -> str:
    """The beginning of the name of a rule that is created in a loop, or its name."""
    return next((name for name in LOOPS.values() if rule.startswith(f"{name}_")), rule)


@pytest.fixture(scope="module")
def groups() -> dict[str, str]:
    """Rule -> its group, from the rule files; rules of a loop are under the beginning of their names."""
    found = {}
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for block in re.split(r"\n(?=\s*rule[ :])", path.read_text()):
            rule, group = re.match(r"\s*rule ?(\w*):", block), re.search(r'group:\n\s+grouped\("(\w+)"\)', block)
            if rule:
                found[rule[1] or LOOPS[path.stem]] = group[1] if group else ""
    return found


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_key_is_an_option(name):
    known = {option.lstrip("-") for action in get_argument_parser()._actions for option in action.option_strings}
    prefix = f"{PLUGINS[name].replace('_', '-')}-"
    assert not [key for key in profile(name) if key not in known and not key.startswith(prefix)]


@pytest.mark.parametrize("name", CLUSTERS)
def test_plugin_settings_exist(name):
    fields = plugin(name).ExecutorSettings.__dataclass_fields__
    prefix = f"{PLUGINS[name].replace('_', '-')}-"
    used = [key.removeprefix(prefix).replace("-", "_") for key in profile(name) if key.startswith(prefix)]
    assert used
    assert not [key for key in used if key not in fields]


@pytest.mark.parametrize("name", CLUSTERS)
def test_results_are_decided_as_on_one_machine(name):
    here, there = profile("default"), profile(name)
    assert {key: there[key] for key in SHARED} == {key: here[key] for key in SHARED}


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_job_names_memory_and_time_and_fits_a_node(name, planned):
    node = profile(name)
    limits = amounts(node["resources"])
    assert {"train", "predict", "evaluate_smoke_letters", "audit", "pages", "dataset", "split"} < set(planned)
    for rule, jobs in planned.items():
        for job in jobs:
            assert 0 < job["runtime"] <= 24 * 60, rule
            assert 500 <= job["mem_mb"] <= limits["mem_mb"], rule
            assert job["_cores"] <= node["cores"], rule
            assert job.get("gpu", 0) <= limits["gpu"], rule


@pytest.mark.parametrize("name", CLUSTERS)
def test_groups_fit_a_node(name, planned, groups):
    """Jobs of a group that run at once are summed up to the limits; the others run in further layers."""
    node = profile(name)
    limits = {**amounts(node["resources"]), "_cores": node["cores"]}
    constraints = Resources({key: Resource(key, value) for key, value in limits.items()})
    components = amounts(node.get("group-components", []))
    for group in ("data", "score", "report"):
        rules = [rule for rule in planned if groups.get(loop_of(rule)) == group]
        assert rules
        levels = []
        for rule in rules:
            # `score` is a group for each run, or for as many runs as the profile says; the others are one for the suite
            jobs = planned[rule][:1] * components.get(group, 1) if group == "score" else planned[rule]
            levels.append([SimpleNamespace(resources={**job}, pipe_group=None) for job in jobs])
        requested = GroupResources.basic_layered(levels, constraints, run_local=False)
        for key in ("mem_mb", "_cores"):
            assert 0 < requested[key] <= limits[key], (group, key)
        assert requested.get("gpu", 0) <= limits["gpu"]
        # The Snakemake inside of the job knows the cores and not the memory limit: were memory the narrower one, it
        # would ask `srun` for more cores than the job has, which Slurm refuses.
        largest = max(job["mem_mb"] for rule in rules for job in planned[rule])
        assert limits["mem_mb"] >= node["cores"] * largest, group
        if group == "score":
            assert requested["runtime"] <= 24 * 60


def test_long_trainings_stay_alone_and_everything_after_them_is_grouped(groups):
    assert {rule for rule, group in groups.items() if not group} == {"train", "train_streamed", "study", "publish"}


@pytest.mark.parametrize("name", CLUSTERS)
def test_dry_run_with_the_profile(name, tmp_path):
    plugin(name)
    checkout = Checkout(tmp_path / "checkout")
    done = checkout.run("snakemake", "-n", "--workflow-profile", f"profiles/{name}", "--config", "suite=smoke")
    text = done.stdout + done.stderr
    assert re.search(r"^train +29$", text, flags=re.MULTILINE), text[-2000:]
    assert "profiles/default" not in text


def test_the_cluster_for_tests_leaves_a_real_one_alone(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("slurm", ROOT / "tests/cluster/slurm.py")
    slurm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slurm)
    commands = []
    monkeypatch.setattr(slurm, "CONF", tmp_path)
    monkeypatch.setattr(slurm, "BASE", tmp_path / "base")
    monkeypatch.setattr(slurm, "call", lambda *command, **_: commands.append(command) or "")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "slurm.conf").write_text("ClusterName=theirs\n")
    with pytest.raises(SystemExit, match="belongs to a cluster"):
        slurm.up()
    slurm.down()
    assert not commands
    assert (tmp_path / "slurm.conf").read_text() == "ClusterName=theirs\n"


# --- Kubernetes ---


@pytest.fixture(scope="module")
def job():
    spec = importlib.util.spec_from_file_location("kubernetes_job", ROOT / "profiles/kubernetes/job.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def requested(**changed: int) -> argparse.Namespace:
    return argparse.Namespace(**{"cpus": 2, "memory_mb": 3000, "gpus": 0, "minutes": 60, **changed})


def test_manifest_asks_for_what_the_rule_asks(job):
    place = job.Cluster(image="i:1", claim="disk", mount="/work")
    text = "cd '/work/a b' && python -m snakemake \"$HOME\""
    plain = job.manifest(text, requested(), place, Path("/work/a b"), "reprood-1")
    pod = plain["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"] == ["/bin/sh", "-c", text]
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "2", "memory": "3000M"}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "disk"}
    assert plain["spec"]["activeDeadlineSeconds"] == 3600
    with_gpu = job.manifest(text, requested(gpus=1), place, Path("/work"), "reprood-2")["spec"]["template"]["spec"]
    assert with_gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert with_gpu["tolerations"]


def test_manifest_is_valid(job):
    validate = pytest.importorskip("kubernetes_validate", reason="needs the schemas of kubernetes-validate")
    place = job.Cluster(image="i:1", claim="disk", mount="/work", namespace="lab")
    for gpus in (0, 1):
        record = job.manifest("true", requested(gpus=gpus), place, Path("/work"), "reprood-1")
        assert validate.validate(json.loads(json.dumps(record)), "1.31", strict=True)
        record["spec"]["backOffLimit"] = 1
        with pytest.raises(validate.ValidationError):
            validate.validate(record, "1.31", strict=True)


def test_status_of_a_job(job):
    def condition(kind: str, status: str) -> dict:
        return {"status": {"conditions": [{"type": kind, "status": status}]}}

    assert job.status({}) == job.status(condition("Suspended", "True")) == job.status(condition("Failed", "False"))
    assert job.status({}) == "running"
    assert job.status(condition("Complete", "True")) == "success"
    assert job.status(condition("Failed", "True")) == "failed"


def test_mistakes_are_one_sentence(job, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    order = ["submit", "--cpus", "1", "--memory-mb", "1", "--gpus", "0", "--minutes", "1", "script"]
    monkeypatch.setattr(job, "SETTINGS", tmp_path / "cluster.json")
    with pytest.raises(SystemExit, match=r"cluster.json is missing; copy cluster.example.json"):
        job.main(order)
    for text, words in (
        ('{"image": "i", "claim": "c", "mount": "/elsewhere"}', "is not in /elsewhere"),
        ('{"image": "i"}', "missing 2 required positional arguments: 'claim' and 'mount'"),
        ('{"image": "i", "claim": "c", "mount": "/", "zone": "z"}', "unexpected keyword argument 'zone'"),
        ("image: i", "cluster.json: Expecting value"),
    ):
        job.SETTINGS.write_text(text)
        with pytest.raises(SystemExit, match=words):
            job.main(order)
    job.SETTINGS.write_text(json.dumps({"image": "i", "claim": "c", "mount": str(tmp_path)}))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="there is no kubectl"):
        job.main(["status", "reprood-1"])


def test_the_example_describes_a_cluster(job):
    assert job.read_cluster(ROOT / "profiles" / "kubernetes" / "cluster.example.json").mount == "/work"


KUBECTL = """#!{python}
# Stands in for kubectl and a cluster: a Job's command runs here, with its folder and environment.
import json, os, subprocess, sys
from pathlib import Path
store, words = Path({store!r}), [word for word in sys.argv[1:] if not word.startswith("-")]
words = words[1:]  # the namespace
if words[0] == "create":
    record = json.load(sys.stdin)
    name, box = record["metadata"]["name"], record["spec"]["template"]["spec"]["containers"][0]
    (store / (name + ".json")).write_text(json.dumps(record))
    environment = {{**os.environ, **{{item["name"]: item["value"] for item in box["env"]}}}}
    with open(store / (name + ".log"), "w") as log:
        code = subprocess.run(box["command"], cwd=box["workingDir"], env=environment, stdout=log, stderr=log).returncode
    (store / (name + ".code")).write_text(str(code))
elif words[0] == "get":
    code = int((store / (words[2] + ".code")).read_text())
    kind = "Failed" if code else "Complete"
    print(json.dumps({{"status": {{"conditions": [{{"type": kind, "status": "True"}}]}}}}))
"""


def test_jobs_go_through_kubectl(tmp_path):
    """The whole chain except the cluster: Snakemake submits, queries the state and finds the outputs."""
    plugin("kubernetes")
    checkout, tools = Checkout(tmp_path / "checkout"), tmp_path / "tools"
    tools.mkdir()
    (tools / "kubectl").write_text(KUBECTL.format(python=sys.executable, store=str(tools)))
    (tools / "kubectl").chmod(0o755)
    checkout.env["PATH"] = f"{tools}:{checkout.env['PATH']}"
    settings = {"image": "i", "claim": "c", "mount": str(tmp_path)}
    (checkout.folder / "profiles" / "kubernetes" / "cluster.json").write_text(json.dumps(settings))
    target = "data/benchmarks/smoke_defects/test/meta.json"
    command = ("snakemake", "--workflow-profile", "profiles/kubernetes", target, "--config", "suite=smoke")
    checkout.run(*command, timeout=120)
    assert (checkout.folder / target).exists()
    records = [json.loads(path.read_text()) for path in tools.glob("*.json")]
    requests = [r["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] for r in records]
    assert requests == [{"cpu": "1", "memory": "4000M"}]  # one pod for the group
