"""The plan answers for the rules, and names what does not fit; the command line says mistakes in one sentence."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reprood.core.errors import ReproodError
from reprood.core.files import read_json
from reprood.pipeline.plan import Plan, environment
from reprood.pipeline.schemas import schemas

ROOT = Path(__file__).resolve().parents[2]
SMOKE = yaml.safe_load((ROOT / "config" / "suites" / "smoke.yaml").read_text())


def plan(tmp_path, change=lambda suite: None, **config) -> Plan:
    suite = copy.deepcopy(SMOKE)
    change(suite)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return Plan({"suite": str(path), **config}, ROOT)


def setting(*path, value):
    def change(suite):
        for key in path[:-1]:
            suite = suite[key]
        suite[path[-1]] = value

    return change


@pytest.mark.parametrize("suite", sorted(p.stem for p in (ROOT / "config" / "suites").glob("*.yaml")))
def test_every_suite_makes_a_plan(suite):
    made = Plan({"suite": suite}, ROOT)
    assert len(made.jobs) >= 3
    for benchmark, method, seed in made.jobs:
        json.loads(made.train_parameters(benchmark, method, seed))


def test_data_in_place_of_shipped_ones_are_in_the_suite_of_the_audit(tmp_path):
    entry = {"title": "Letters (copy)", "licence": "l", "files": {"a.npz": {}}}
    copy_of = {**entry, "splits": {name: {"reader": "npz", "files": ["a.npz"]} for name in ("train", "test")}}
    assert plan(tmp_path).suite.substitutes == {}
    assert "substitutes" not in json.loads(plan(tmp_path).suite_parameters())
    made = plan(tmp_path, datasets={"letters": copy_of, "of_mine": copy_of, "cifar10": copy_of})
    assert json.loads(made.suite_parameters())["substitutes"] == {"letters": "Letters (copy)"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (setting("benchmarks", "smoke_letters", "train", "dataset", value="lettres"), "there is no data set 'lettres'"),
        (
            setting("benchmarks", "smoke_letters", "test", "split", value="exam"),
            "has no split 'exam'; it has: train, test",
        ),
        (
            setting("methods", "erm", "use", value="emr"),
            "use: there is no 'emr' in reprood.methods; did you mean 'erm'?",
        ),
        (
            setting("settings", "backbone", "name", value="transformer"),
            "backbone.name: there is no 'transformer' in reprood.nets; known: cbam_resnet",
        ),
        (setting("settings", value={}), "backbone.name: there is no 'None' in reprood.nets"),
    ],
)
def test_names_that_do_not_exist(tmp_path, change, words):
    with pytest.raises(ReproodError) as caught:
        plan(tmp_path, change)
    assert words in str(caught.value)


def test_another_checkout_is_refused(tmp_path):
    (tmp_path / "src" / "reprood").mkdir(parents=True)
    with pytest.raises(ReproodError, match="not from this checkout"):
        Plan({"suite": "smoke"}, tmp_path)


def test_settings_are_merged_from_suite_benchmark_and_method(tmp_path):
    made = plan(tmp_path, setting("methods", "erm", "set", value={"training": {"lr": 0.01}, "label_smoothing": 0.1}))
    settings = json.loads(made.train_parameters("smoke_letters", "erm", 0))
    assert settings["settings"]["training"]["lr"] == 0.01
    assert settings["settings"]["training"]["epochs"] == 2
    assert settings["backbone"]["name"] == "wrn"
    assert "backbone" not in settings["settings"]


def test_how_to_run_is_no_parameter(tmp_path):
    one = plan(tmp_path)
    other = plan(tmp_path, mirrors=["/somewhere"], offline=True, device="cpu", checkpoint_seconds=1)
    assert one.train_parameters("smoke_letters", "erm", 0) == other.train_parameters("smoke_letters", "erm", 0)
    assert one.dataset_parameters("letters") == other.dataset_parameters("letters")
    assert "/somewhere" in other.shell_prefix()


def test_fingerprints_name_the_method_and_the_network(tmp_path):
    made = plan(tmp_path)
    assert made.code_of("smoke_letters", "erm", "reprood.train.run") != made.code_of(
        "smoke_letters", "cutmix", "reprood.train.run"
    )
    wide = plan(tmp_path, setting("settings", "backbone", value={"name": "resnet", "depth": 18}))
    assert made.code_of("smoke_letters", "erm", "reprood.train.run") != wide.code_of(
        "smoke_letters", "erm", "reprood.train.run"
    )


def test_environment_has_public_versions():
    text = environment("torch", "numpy")
    assert text.startswith("torch ")
    assert "+" not in text


@pytest.mark.parametrize("network", ["torchvision", "resnext", "efficientnet", "wrn"])
def test_the_version_of_torchvision_is_an_input_of_runs_with_its_networks(tmp_path, network):
    backbone = {"name": network, **({"model": "resnet18"} if network == "torchvision" else {})}
    made = plan(tmp_path, setting("settings", "backbone", value=backbone))
    text = made.run_environment("smoke_letters", "erm")
    assert ("torchvision " in text) == (network != "wrn")


def test_packages_that_a_study_uses_are_inputs_of_it():
    pytest.importorskip("pycocotools")
    made = Plan({"suite": "evidence"}, ROOT)
    assert made.study_environment("biamat_toy") == environment("torch", "numpy")
    assert made.study_environment("detection") == environment("torch", "numpy", "pycocotools", "torchvision")


def test_schemas_are_up_to_date():
    for name, schema in schemas().items():
        stored = read_json(ROOT / "workflow" / "schemas" / name)
        assert stored == json.loads(json.dumps(schema)), "run: python -m reprood.pipeline.schemas"


def test_every_property_of_the_configuration_is_described():
    nested = [record for schema in schemas().values() for record in (schema, *schema.get("$defs", {}).values())]
    properties = [(record["title"], *one) for record in nested for one in record.get("properties", {}).items()]
    assert len(properties) > 200
    assert not [f"{record}.{name}" for record, name, entry in properties if not entry.get("description")]
    assert not [record["title"] for record in nested if "----" in record.get("description", "")]


def test_lock_satisfies_the_project_and_holds_no_address():
    import tomllib

    from packaging.requirements import Requirement

    lock = (ROOT / "requirements.lock").read_text()
    assert "--index-url" not in lock
    assert "://" not in lock
    locked: dict[str, set[str]] = {}
    for line in lock.splitlines():
        if line and not line.startswith((" ", "#")):
            name, _, rest = line.partition("==")
            locked.setdefault(name.lower().replace("_", "-"), set()).add(rest.split()[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["run"],
        *project["optional-dependencies"]["test"],
        *project["optional-dependencies"]["ssh"],
    ]
    for text in wanted:
        requirement = Requirement(text)
        versions = locked[requirement.name.lower().replace("_", "-")]
        assert all(requirement.specifier.contains(version) for version in versions), text


def names_of(lock: str) -> dict[str, str]:
    lines = (line.split(" ")[0] for line in lock.splitlines() if "==" in line)
    return {name.lower().replace("_", "-"): version for name, _, version in (line.partition("==") for line in lines)}


def test_the_lock_of_the_documentation_holds_its_packages_and_no_address():
    import tomllib

    from packaging.requirements import Requirement

    lock = (ROOT / "requirements-docs.lock").read_text()
    assert "://" not in lock
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["docs"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(names_of(lock)[requirement.name.lower()]), text


@pytest.mark.slow
def test_checking_needs_the_small_lock_only():
    """What `reprood release verify` imports is in requirements-verify.lock, which is a part of requirements.lock."""
    small, whole = (names_of((ROOT / name).read_text()) for name in ("requirements-verify.lock", "requirements.lock"))
    assert small.items() <= whole.items()
    assert not {"torch", "snakemake", "dvc"} & set(small)
    code = (
        "import sys, json, importlib.metadata as m, reprood.cli.main, reprood.publish.verify, reprood.publish.compare\n"
        "known = m.packages_distributions()\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(json.dumps(sorted({known[name][0] for name in loaded if name in known})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needed = {name.lower().replace("_", "-") for name in json.loads(done.stdout)}
    optional = {"charset-normalizer", "cloudpickle", "reprood", "setuptools"}  # taken by others if they are there
    assert needed - optional <= set(small)


def cli(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "reprood"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", ["datasets", "benchmarks", "methods", "detectors", "suites", "claims"])
@pytest.mark.slow
def test_lists(what):
    done = cli("list", what, "--tsv")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) > 2
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "planets"], "choose one of datasets"),
        (["data", "dataset", "lettres", "train"], "There is no data set 'lettres'"),
        (["check", "--suite", "nowhere"], "There is no suite 'nowhere'"),
        (["train", "--settings", "{", "--data", "x", "--out", "y"], "--settings is not valid JSON"),
        (["evaluate", "collect", "--suite", "{", "--out", "x"], "--suite is not valid JSON"),
    ],
)
def test_mistakes_on_the_command_line(arguments, words):
    done = cli(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_help_is_quick_and_free_of_torch():
    done = cli("--help")
    assert done.returncode == 0
    for verb in ("data", "train", "predict", "evaluate", "audit", "report", "watch", "list", "check"):
        assert verb in done.stdout


@pytest.mark.slow
def test_check_builds_the_networks():
    done = cli("check", "--suite", "smoke")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^.*smoke_letters/godin_c: wrn, \d+(,\d{3})* parameters, 2 epochs", done.stdout, re.MULTILINE)


def test_citation_agrees_with_the_project():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
