"""The table of environment variables in the documentation agrees with the sources."""

import ast
import re
from pathlib import Path

import reprood.core.process

ROOT = Path(__file__).parents[2]
OWN = re.compile(r"REPROOD_[A-Z_]*[A-Z]")
ACCESS = ("get", "setdefault", "pop")


def table() -> set[str]:
    page = ROOT / "docs" / "reference" / "environment.md"
    rows = [line.split("|")[1] for line in page.read_text().splitlines() if line[:2] == "| "]
    return {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}


def sources(*folders: str) -> list[Path]:
    endings = {".py", ".smk", ".yaml", ".toml", ".ipynb", ""}
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    return [path for path in paths if path.is_file() and path.suffix in endings and "__pycache__" not in path.parts]


def read_variables(path: Path) -> set[str]:
    """Names in os.environ[NAME], os.environ.get(NAME), os.getenv(NAME) and NAME in os.environ, as far as literal."""
    names: list[ast.expr] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            names.append(node.slice)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            *(f"os.environ.{way}" for way in ACCESS),
            "os.getenv",
        }:
            names.append(node.args[0])
        elif isinstance(node, ast.Compare) and any(ast.unparse(right) == "os.environ" for right in node.comparators):
            names.append(node.left)
    return {name.value for name in names if isinstance(name, ast.Constant)}


def test_the_table_lists_every_variable_and_no_other():
    own = {name for path in sources("src", "tests", "workflow", "profiles", "config", "benchmarks", "notebooks")
           for name in OWN.findall(path.read_text(encoding="utf-8", errors="replace"))}  # fmt: skip
    foreign = {
        name for path in sources("src", "workflow", "profiles") if path.suffix == ".py" for name in read_variables(path)
    }
    assert own | foreign | set(reprood.core.process.THREAD_VARIABLES) == table()


def test_the_packages_names_are_defined_in_one_module():
    files = [path for path in sources("src") if path.suffix == ".py"]
    defining = [path.relative_to(ROOT).as_posix() for path in files if OWN.search(path.read_text())]
    assert defining == ["src/reprood/core/process.py"]
