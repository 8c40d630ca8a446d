"""Bad files of papers (`reprood audit`) and of known defects."""

import copy
import json
from pathlib import Path
from typing import Any

from hostile_harness import Act, Case
from hostile_settings import CROWD, GOOD, dumped

CASES: list[Case] = []
PAPER = "papers and defects"

RUNS = [{"benchmark": "toy", "methods": ["erm"]}]
SUITE_TEXT = json.dumps({"name": "toy", **GOOD})
CLAIM = {"id": "c", "statement": "X is better.", "kind": "difference", "metric": "top1_error", "better": "lower",
         "sides": [{"method": "a"}, {"method": "b"}]}  # fmt: skip
NUMBER = {
    "id": "n",
    "where": "Table 1",
    "setting": "s",
    "method": "m",
    "metric": "top1_error",
    "value": 1.0,
    "source": "paper",
}
GOOD_PAPER: dict[str, Any] = {
    "id": "bad", "title": "Toy", "authors": "A", "venue": "V", "year": 2020, "summary": "S.", "method": "M.",
    "arms": {"a": {"means": "ours"}, "b": {"means": "theirs"}}, "claims": [CLAIM], "published": [NUMBER],
}  # fmt: skip


def paper(name: str, text: bytes, *words: str, file: str = "bad.yaml") -> None:
    def build(inside: Path) -> Act:
        (inside / "papers").mkdir()
        (inside / "papers" / file).write_bytes(text)
        command = ["audit", "--suite", SUITE_TEXT, "--papers", "papers"]
        command += ["--studies", "studies", "--out", "verdicts.csv"]
        return Act(command, inside, inside / "verdicts.csv")

    CASES.append(Case(PAPER, name, build, (file, *words)))


def altered(name: str, part: str, change: dict[str, Any], *words: str) -> None:
    """Return the good paper with a change of it, of its claim or of its number."""
    record = copy.deepcopy(GOOD_PAPER)
    (record if not part else record[part][0]).update(change)
    paper(name, dumped(record), *words)


paper("nothing", b"", "valid dictionary")
paper("a list", b"- a", "valid dictionary")
paper("random bytes", bytes(range(256)), "not valid YAML")
paper("an object of Python", b"title: !!python/object/apply:os.system ['true']", "not allowed")
paper("a list of a thousand million texts", CROWD.encode(), "more than 200,000 values")
paper("brackets nested 2,000 deep", b"title: " + b"[" * 2000 + b"]" * 2000, "nested too deeply")
paper("another file's paper", dumped(GOOD_PAPER), "expected the file's name", file="other.yaml")
for key in ("id", "title", "claims", "arms", "summary"):
    paper(f"without {key}", dumped({k: v for k, v in GOOD_PAPER.items() if k != key}), key, "missing")
altered("an unknown key", "", {"colour": 1}, "colour", "not known")
altered("an id with a path", "", {"id": "../bad"}, "expected the file's name")
altered("a title that is a formula", "", {"title": "=1+1"}, "title", "formula")
altered("a title of two lines", "", {"title": "a\nb"}, "title", "control character")
altered("a year of text", "", {"year": "long ago"}, "year")
altered("no claims", "", {"claims": []}, "claims")
altered("claims that are a mapping", "", {"claims": {"a": 1}}, "claims")
altered("a claim twice", "", {"claims": [CLAIM, CLAIM]}, "'c' is used twice")
altered("seven main claims", "", {"claims": [{**CLAIM, "id": f"c{i}"} for i in range(7)]}, "at most 6")
altered("an arm that means a formula", "", {"arms": {"a": {"means": "@SUM(A1)"}, "b": {"means": "x"}}}, "arms.a.means")
altered("a claim id with a path", "claims", {"id": "../c"}, "claims id")
altered("a claim id with HTML", "claims", {"id": "<b>"}, "claims id")
altered("a statement that is a formula", "claims", {"statement": "=cmd|' /C calc'!A1"}, "statement", "formula")
altered("a statement of 100,000 letters", "claims", {"statement": "x" * 100_000}, "statement", "100000 characters")
altered("an unknown kind of claim", "claims", {"kind": "hope"}, "kind")
altered("an unknown metric", "claims", {"metric": "beauty"}, "'beauty'")
altered("a metric that is code", "claims", {"metric": "__import__('os')"}, "metric")
altered("an unknown arm", "claims", {"sides": [{"method": "a"}, {"method": "nobody"}]}, "no arm 'nobody'")
altered("one side of a difference", "claims", {"sides": [{"method": "a"}]}, "2 sides, not 1")
altered(
    "a side with a score for an error",
    "claims",
    {"sides": [{"method": "a", "score": "msp"}, {"method": "b"}]},
    "takes no score",
)
altered("a margin below nothing", "claims", {"margin": -1}, "margin")
altered("no seeds", "claims", {"min_seeds": 0}, "min_seeds")
altered("an unknown direction", "claims", {"better": "sideways"}, "better")
altered("an equivalence without a margin", "claims", {"kind": "equivalent"}, "margin above 0")
altered("a published number that is not there", "claims", {"published": ["nobody"]}, "'nobody'")
altered("a published number twice", "", {"published": [NUMBER, NUMBER]}, "'n' is used twice")
altered("a published number of text", "published", {"value": "high"}, "value")
altered("an unknown source", "published", {"source": "hearsay"}, "source")
altered("a published row that is a formula", "published", {"method": "+ours"}, "method", "formula")
altered("a unit that is a formula", "published", {"unit": "=A1"}, "unit", "formula")
altered("a split that is not measured", "claims", {"split": "nowhere"}, "'nowhere'")
paper("NaN for a number", dumped(GOOD_PAPER).replace(b"value: 1.0", b"value: .nan"), "not finite")


def defects(name: str, text: bytes, *words: str) -> None:
    def build(inside: Path) -> Act:
        def run() -> None:
            from reprood.audit.defects import load_defects

            (inside / "defects.yaml").write_bytes(text)
            load_defects(inside / "defects.yaml")

        return Act(run, inside)

    CASES.append(Case(PAPER, f"defects: {name}", build, ("defects.yaml", *words)))


DEFECT = {"id": "d", "where": "w", "what": "x", "effect": "e", "source": "s"}
defects("a text", b"nothing")
defects("a number", b"3")
defects("a mapping", dumped({"a": DEFECT}))
defects("an unknown check", dumped([{**DEFECT, "check": "os.system"}]), "no check 'os.system'")
defects("an id twice", dumped([DEFECT, DEFECT]), "'d' is used twice")
defects("a key that is missing", dumped([{"id": "d"}]), "missing")
