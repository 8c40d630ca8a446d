"""Links of the documents resolve; the README shows the newest release; reference pages are complete."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

from reprood.core.files import read_json
from reprood.report.readme import BLOCK, FIGURE, SOURCE, renewed, source_of

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
assert SPEC is not None
assert SPEC.loader is not None
GENERATE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(GENERATE)
PAGES = dict(GENERATE.pages(ROOT))
WRITTEN = [path for path in (ROOT / "docs").rglob("*.md") if path.stem not in PAGES]
FOLDERS = ("config", "benchmarks", "published", "reports")
DOCUMENTS = [*ROOT.glob("*.md"), *WRITTEN, *(ROOT / name / "README.md" for name in FOLDERS)]
LINK = re.compile(r"\]\((?P<path>[^)#\s:]*)(?:#(?P<part>[^)\s]*))?\)")
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def parts(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path):
    for link in LINK.finditer(CODE.sub("", path.read_text(encoding="utf-8"))):
        target = (path.parent / link["path"]).resolve() if link["path"] else path
        generated = target.parent == ROOT / "docs" / "reference" and target.stem in PAGES
        assert generated or target.exists(), link[0]
        if link["part"] and target.suffix == ".md":
            text = PAGES[target.stem] if generated else target.read_text(encoding="utf-8")
            assert link["part"] in parts(text), link[0]


def test_pages_that_texts_name_exist():
    for path in (*DOCUMENTS, ROOT / "CHANGELOG.md"):
        for name in re.findall(r"`(docs/[\w/-]+\.md)`", path.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file() or Path(name).stem in PAGES, f"{path.name}: {name}"


def test_every_page_is_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    named = set(re.findall(r"^([a-z-]+/[a-z-]+)$", index, re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in WRITTEN} - {"index"}
    assert named == pages | {f"reference/{name}" for name in PAGES}


def test_generated_pages_are_complete():
    assert PAGES.keys() == set(GENERATE.GENERATED)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert all(f"/docs/reference/{name}.md" in ignored for name in PAGES)
    assert "### reprood release verify" in PAGES["commands"]
    assert "| `relevant` | number | `0.0` | Smallest effect that matters" in PAGES["configuration"]
    assert "| `p_holm` | p after Holm's correction" in PAGES["columns"]
    assert "| `fpr95_id_positive` | FPR@95 (ID positive), % | lower |" in PAGES["metrics"]
    assert "## energy\n\nEnergy: `T log sum_c exp(l_c / T)`" in PAGES["detectors"]


def test_the_readme_shows_the_newest_release():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("\n") <= 120
    shown = BLOCK.search(readme)
    assert shown is not None
    dates = {path.parent.name: read_json(path)["metadata"]["publication_date"]
             for path in (ROOT / "published").glob("*/deposit.json")}  # fmt: skip
    renew = "run: python -m reprood.report.readme published/RELEASE"
    assert dates[shown["name"]] == max(dates.values()), renew
    folder = ROOT / "published" / shown["name"]
    assert renewed(readme, folder) == readme, renew
    assert (ROOT / FIGURE).stat().st_size < 200_000
    with Image.open(ROOT / FIGURE) as figure:
        assert figure.info[SOURCE] == source_of(folder), renew
