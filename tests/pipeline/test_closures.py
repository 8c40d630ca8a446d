"""What an edit re-runs: the sizes of the closures, and whose code each job depends on.

The three tables are the contract. An entry that grows means that more edits re-run that stage: add it only if the job
really needs the new module.
"""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprood.core.registry import module_name
from reprood.methods import registry
from reprood.nets.registry import backbones
from reprood.pipeline import fingerprint
from reprood.pipeline.meaning import meaning

# Modules in the closure of an entry, the packages' __init__ files included.
SIZES = {
    "reprood.data.dataset": 27,
    "reprood.data.benchmark": 16,
    "reprood.data.corrupt": 12,
    "reprood.train.run": 24,
    "reprood.predict.run": 50,
    "reprood.evaluate.run": 34,
}

# A method's code -> the other methods that use some of it and are therefore trained again after an edit.
SHARED = {
    "biamat": {"adversarial_pretraining"},
    "cnc": {"outlier_class"},
    "cutmix": {
        "cnc",
        "feature_mix",
        "finetune",
        "imagenet",
        "localiser",
        "network_dropout",
        "outlier_class",
        "resmooth",
        "strong_augment",
    },
    "cutpaste": {"localiser", "ss_one_class_crops"},
    "dias": {"arpl"},
    "erm": {"finetune", "localiser", "network_dropout"},
    "feature_mix": {"network_dropout"},
    "finetune": {"localiser"},
    "hood": {"hood_mmd"},
    "oe": {"ss_one_class", "ss_one_class_crops"},
    "resmooth": {"strong_augment"},
    "ss_one_class": {"ss_one_class_crops"},
    "ss_ood": {"ss_labels"},
}

# Modules on which no data set, training or prediction depends.
UNUSED_BY_JOBS = {
    "error formatting": "reprood.core.messages",
    "YAML parsing": "reprood.core.yaml",
    "reading the catalogue": "reprood.data.catalogue",
    "settings": "reprood.config.settings",
    "the suite": "reprood.config.suite",
    "reading the suite": "reprood.config.load",
    "known names": "reprood.config.names",
    "benchmarks": "reprood.config.benchmark",
    "checksums": "reprood.core.checksums",
    "GPU locks": "reprood.core.gpus",
    "progress display": "reprood.core.progress",
    "machine facts": "reprood.core.machine",
    "progress of predictions": "reprood.cli.progress",
    "a detector": "reprood.detectors.knn",
    "the record of detectors": "reprood.detectors.record",
    "table of running trainings": "reprood.cli.watch",
    "fingerprints": "reprood.pipeline.fingerprint",
}
USED_BY_ALL = "reprood.core.files"

METHODS = registry.methods()
BACKBONES = backbones()


def train_hash(method: str) -> str:
    return fingerprint.code_hash("reprood.train.run", module_name("methods", method))


def job_hashes() -> dict[str, str]:
    """Fingerprints of all jobs before and including prediction, those of each method and network apart."""
    hashes = {entry: fingerprint.code_hash(entry) for entry in SIZES if "evaluate" not in entry}
    for method in METHODS:
        hashes[f"train {method}"] = train_hash(method)
        hashes[f"predict {method}"] = fingerprint.code_hash("reprood.predict.run", module_name("methods", method))
    for name in BACKBONES:
        hashes[f"network {name}"] = fingerprint.code_hash(module_name("nets", name))
    return hashes


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of the package whose sources may be edited; fingerprints are taken of it."""
    package = tmp_path / "reprood"
    shutil.copytree(fingerprint.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "PACKAGE", package)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    fingerprint.forget()
    yield package
    fingerprint.forget()


def edit(module: str) -> None:
    """Change the code of a module of the copy."""
    path = fingerprint.source(module)
    assert path is not None, module
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    fingerprint.forget()


@pytest.mark.parametrize("entry", SIZES)
def test_closures_have_the_pinned_size(entry):
    modules = fingerprint.closure(entry)
    assert len(modules) == SIZES[entry], "\n".join(modules)


@pytest.mark.parametrize("module", UNUSED_BY_JOBS.values(), ids=UNUSED_BY_JOBS)
def test_an_edit_of_what_no_job_uses_re_runs_nothing(copied, module):
    before = job_hashes()
    edit(module)
    assert job_hashes() == before


def test_an_edit_of_what_all_jobs_use_re_runs_everything(copied):
    """The counterpart of the test above: the copy is what is fingerprinted."""
    before = job_hashes()
    edit(USED_BY_ALL)
    changed = {name for name, value in job_hashes().items() if value != before[name]}
    assert changed >= set(before) - {f"network {name}" for name in BACKBONES}


def owners() -> dict[str, list[str]]:
    """Method, or file shared by some methods -> its modules; what every training uses belongs to none."""
    common = set(fingerprint.closure("reprood.train.run"))
    modules: dict[str, list[str]] = {}
    for path in sorted(fingerprint.PACKAGE.glob("methods/**/*.py")):
        name = str(fingerprint.module_of(path))
        if name not in common and path.name != "__init__.py":
            modules.setdefault(name.split(".")[2], []).append(name)
    return modules


OWNERS = owners()


def test_the_table_of_shared_code_names_methods():
    assert set(OWNERS) >= set(METHODS)
    assert set(SHARED) <= set(OWNERS)
    assert set(OWNERS) - set(METHODS) <= set(SHARED)
    assert set().union(*SHARED.values()) <= set(METHODS)


@pytest.mark.parametrize("owner", OWNERS)
def test_an_edit_of_a_papers_code_re_trains_that_paper_and_the_listed_methods(copied, owner):
    allowed = {owner, *SHARED.get(owner, ())} & set(METHODS)
    affected: set[str] = set()
    for module in OWNERS[owner]:
        before = {method: train_hash(method) for method in METHODS}
        edit(module)
        changed = {method for method in METHODS if train_hash(method) != before[method]}
        assert changed <= allowed, module
        assert changed, f"{module} is used by no method"
        affected |= changed
    assert affected == allowed


class Rewording(ast.NodeTransformer):
    """Rewords the messages of exceptions, logs and prints, and adds a print to every function."""

    def __init__(self) -> None:
        self.count = 0

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        if isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) in ("ReproodError", "ValueError"):
            self._reword(node.exc)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in ("print", "log.warning", "log.info"):
            self._reword(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.body.append(ast.parse("print('done')").body[0])
        return node

    def _reword(self, call: ast.Call) -> None:
        if call.args and isinstance(call.args[0], ast.JoinedStr) and isinstance(call.args[0].values[0], ast.Constant):
            call.args[0].values[0].value += "in other words "
            self.count += 1


def test_rewording_all_messages_re_runs_nothing(copied):
    """But for the few whose arguments call something that is not known to be pure."""
    before = job_hashes()
    reworded = 0
    effects = []
    for path in sorted(copied.rglob("*.py")):
        text = path.read_text()
        rewording = Rewording()
        path.write_text(ast.unparse(ast.fix_missing_locations(rewording.visit(ast.parse(text)))))
        if meaning(path.read_bytes()) == meaning(text):
            reworded += rewording.count
        else:
            effects.append(str(path))
            path.write_text(text)
    assert reworded > 150
    assert len(effects) < 20, effects
    fingerprint.forget()
    assert job_hashes() == before


def test_no_method_depends_on_the_report_and_no_prediction_on_a_method():
    for entry in ("reprood.train.run", "reprood.predict.run"):
        packages = {module.split(".")[1] for module in fingerprint.closure(entry) if "." in module}
        assert not packages & {"audit", "cli", "offload", "pipeline", "publish", "report", "studies"}, entry
        assert not {m for modules in OWNERS.values() for m in modules} & set(fingerprint.closure(entry)), entry
