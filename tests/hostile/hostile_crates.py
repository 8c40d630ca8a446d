"""Bad releases: archives and folders given to `reprood release verify`."""

import functools
import json
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile_data import objects
from hostile_harness import ROOT, Act, Case
from hostile_records import shelf, write

CASES: list[Case] = []
CRATE = "published releases"
RUNS = [{"benchmark": "toy", "methods": ["erm"], "seeds": [0, 1]}]


@functools.cache
def good_release() -> Path:
    """Return a small release of fabricated results."""
    import fabricate

    from reprood.audit.papers import load_papers
    from reprood.audit.verdicts import audit
    from reprood.evaluate.collect import collect
    from reprood.publish.build import build_release
    from reprood.publish.contents import ROOT_FILES
    from reprood.report.draw import draw_benchmark
    from reprood.report.plots import write_plots
    from reprood.report.results import BenchmarkResults

    folder, out = shelf() / "checkout", shelf() / "release"
    folder.mkdir()
    toy = {**fabricate.SUITE["benchmarks"]["toy"], "evaluations": ["classification"]}
    suite = {**fabricate.SUITE, "benchmarks": {"toy": toy}, "runs": RUNS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fabricate, "COUNT", 40)
        made = fabricate.results(folder, benchmarks={"toy": toy}, runs=RUNS)
    for name in ROOT_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "config/suites").mkdir()
    (folder / "config/suites/toy.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    (folder / "config/papers").mkdir()
    sides = [{"method": "good"}, {"method": "erm"}]
    paper = fabricate.paper({"metric": "top1_error", "better": "lower", "kind": "difference", "sides": sides})
    arms = {"arms": {"good": {"means": "ours"}, "erm": {"means": "baseline"}}}
    (folder / "config/papers/toy.yaml").write_text(yaml.safe_dump({**paper, **arms}))
    results = folder / "results" / "toy"
    results.mkdir(parents=True, exist_ok=True)
    metrics = [folder / "runs" / b / m / str(s) / "metrics.csv" for b, m, s in made.jobs()]
    collect(metrics, results / "metrics.parquet", results / "metrics.csv", results / "summary.json")
    papers = load_papers([folder / "config/papers/toy.yaml"])
    audit(made, papers, folder, folder / "studies", results / "verdicts.csv")
    write_plots(results / "metrics.csv", results / "plots.csv")
    shown = BenchmarkResults("toy", made, folder, folder / "examples.npz")
    draw_benchmark(shown, folder / "data", folder / "reports" / "toy")
    record = json.dumps({**made.model_dump(mode="json", exclude={"settings"}), "name": "toy"})
    return build_release(record, folder, out, release="draft", date="2026-01-02")


def release(name: str, change: Callable[[Path], object], *words: str) -> None:
    """Copy the good release as a folder and change it."""

    def build(inside: Path) -> Act:
        change(Path(shutil.copytree(good_release(), inside / "release")))
        return Act(["verify", "release"], inside, programs=("ssh-keygen",))

    CASES.append(Case(CRATE, name, build, ("release", *words)))


def archive(name: str, make: Callable[[Path], object], *words: str) -> None:
    def build(inside: Path) -> Act:
        make(inside / "release.zip")
        return Act(["verify", "release.zip"], inside)

    CASES.append(Case(CRATE, f"archive: {name}", build, ("release.zip", *words)))


def members(*given: tuple[Any, bytes], whole: bool = False) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            if whole:
                for file in sorted(good_release().rglob("*")):
                    made.write(file, f"draft/{file.relative_to(good_release())}")
            for member, data in given:
                made.writestr(member, data)

    return make


def mode(name: str, kind: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = kind << 16
    return member


for title, bad in {
    "above": "../outside/x",
    "far above": "draft/../../../outside/x",
    "absolute": "/tmp/reprood-x",
    "with backslashes": "..\\x",
}.items():
    archive(f"a path {title}", members((bad, b"x")), "leads outside")
archive("a link", members((mode("draft/link", stat.S_IFLNK | 0o777), b"/etc/passwd")), "is a link")
archive("a member twice", members(("a", b"1"), ("a", b"2")), "twice")
archive("0 bytes", lambda at: write(at, b""), "neither a folder nor a zip archive")
archive("text", lambda at: write(at, "text"), "neither a folder nor a zip archive")
archive("cut", lambda at: (members(("a", b"x" * 500))(at), write(at, at.read_bytes()[:-10])), "release.zip")
archive("a broken member", lambda at: (zipfile.ZipFile(at, "w").writestr("a", b"x" * 500), write(
    at, at.read_bytes().replace(b"x" * 500, b"y" * 500))), "damaged")  # fmt: skip
archive("no description", members(("a", b"x")), "holds no ro-crate-metadata.json")


def _patched(path: Path, mark: bytes, place: int, value: bytes) -> None:
    raw = bytearray(path.read_bytes())
    at = -1
    while (at := raw.find(mark, at + 1)) >= 0:
        raw[at + place : at + place + len(value)] = value
    path.write_bytes(raw)


def _lying(path: Path) -> None:
    members(("a", b"x" * 500))(path)
    _patched(path, b"PK\x01\x02", 24, struct.pack("<I", 0xFFFFFFF0))


def _encrypted(path: Path) -> None:
    members(("a", b"x" * 500))(path)
    _patched(path, b"PK\x03\x04", 6, b"\x01\x00")
    _patched(path, b"PK\x01\x02", 8, b"\x01\x00")


def _folder_and_file(path: Path) -> None:
    members(("a", b"1"), ("a/b", b"2"))(path)


archive("4 GiB, it says", _lying, "more than 2 GiB")
archive("encrypted", _encrypted, "damaged")
archive("a file that is a folder too", _folder_and_file, "release.zip")
archive("a pipe", lambda at: os.mkfifo(at), "neither a folder nor a zip archive")


def replaced(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def record(name: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return edit


def content(name: str, data: bytes | str) -> Callable[[Path], object]:
    return lambda folder: write(folder / name, data)


META, SUITE = "ro-crate-metadata.json", "config/suite.json"
DESCRIBED, LISTED, CONFIGURED = (
    "description lists the files",
    "files are those that were listed",
    "configuration is the one",
)
release("a link to a file outside", lambda at: (at / "link").symlink_to("/etc/passwd"), "link is a link")
release("a link to a folder outside", lambda at: (at / "runs/link").symlink_to("/etc"), "link is a link")
release(
    "a link to an endless device", lambda at: ((at / SUITE).unlink(), (at / SUITE).symlink_to("/dev/zero")), "is a link"
)
release("a pipe for a record", lambda at: ((at / SUITE).unlink(), os.mkfifo(at / SUITE)), "neither a file nor a folder")
release("an empty folder", lambda at: (shutil.rmtree(at), at.mkdir()), "checks do not hold", LISTED)
release("checksums of a path above", lambda at: write(at / "SHA256SUMS", "0" * 64 + "  ../../etc/passwd\n"), LISTED)
release("checksums of an absolute path", lambda at: write(at / "SHA256SUMS", "0" * 64 + "  /etc/passwd\n"), LISTED)
release("checksums that are no text", content("SHA256SUMS", b"\xff\xfe\x00"), LISTED)
release("checksums of 0 bytes", content("SHA256SUMS", b""), LISTED)
release("a signature that is none", content("SHA256SUMS.sig", b"-----BEGIN SSH SIGNATURE-----\n"), "checks do not hold")
release("no description", lambda at: (at / META).unlink(), DESCRIBED)
release("a description that is no JSON", content(META, "{"), DESCRIBED)
release("a description that is a list", content(META, "[]"), DESCRIBED)
release("a description nested 100,000 deep", content(META, "[" * 100_000), DESCRIBED)
release("a description without parts", record(META, lambda r: r.update({"@graph": []})), DESCRIBED)
for title, bad in {
    "above": "../../../etc/passwd",
    "absolute": "/etc/passwd",
    "of an endless device": "/dev/zero",
}.items():

    def _point(graph: dict[str, Any], bad: str = bad) -> None:
        root = next(entity for entity in graph["@graph"] if entity["@id"] == "./")
        root["hasPart"].append({"@id": bad})

    release(f"a description of a path {title}", record(META, _point), DESCRIBED)
release("a suite that is no JSON", content(SUITE, "{"), CONFIGURED)
release("a suite that is a number", content(SUITE, "3"), CONFIGURED)
release("a suite nested 100,000 deep", content(SUITE, "[" * 100_000), CONFIGURED)
release("a suite without a name", record(SUITE, lambda r: r.pop("name")), CONFIGURED)
release("a suite named with a path", record(SUITE, lambda r: r.update(name="../../../etc/passwd")), CONFIGURED)
release("a suite named with an escape sequence", record(SUITE, lambda r: r.update(name="\x1b[2J")), CONFIGURED)
release(
    "a benchmark named with a path",
    record(SUITE, lambda r: r["benchmarks"].update({"../x": r["benchmarks"].pop("toy")})),
    CONFIGURED,
)
release("a method that is code", record(SUITE, lambda r: r["methods"]["erm"].update(use="os.system")), CONFIGURED)
release("a label that is a formula", record(SUITE, lambda r: r["methods"]["erm"].update(label="=1+1")), CONFIGURED)
release(
    "the suite's file with an object of Python",
    content("config/suites/toy.yaml", "a: !!python/object/apply:os.system ['true']"),
    CONFIGURED,
)
release(
    "settings with an object of Python",
    content("config/config.yaml", "a: !!python/object/apply:os.system ['true']"),
    CONFIGURED,
)
release(
    "a paper with an object of Python",
    content("config/papers/toy.yaml", "a: !!python/object/apply:os.system ['true']"),
    "verdicts follow",
)
release(
    "predictions that are a pickle",
    lambda at: write(at / "runs/toy/erm/0/predictions.parquet", objects(at.parent)),
    "metrics follow",
)
release("metrics with a formula", replaced("runs/toy/erm/0/metrics.csv", "toy,erm", "toy,=1+1"), "metrics follow")
release("a run of another form", content("runs/toy/erm/0/run.json", "[]"), "pages follow")
release("a network without a name", content("runs/toy/erm/0/model.json", '{"benchmark": "toy"}'), "every run is there")
release(
    "verdicts that are no table", content("results/verdicts.csv", b"\xff\xfe\x00"), "verdicts follow", "pages follow"
)
release(
    "a split without a source", record("data/benchmarks/toy/train/meta.json", lambda r: r.pop("source")), "pages follow"
)
release(
    "a table of metrics that is a pickle",
    lambda at: write(at / "results/metrics.parquet", objects(at.parent)),
    "the table of all metrics",
)
CASES.append(
    Case(CRATE, "a release that is missing", lambda i: Act(["verify", "nowhere"], i), ("nowhere does not exist",))
)
CASES.append(
    Case(CRATE, "an endless device", lambda i: Act(["verify", "/dev/zero"], i), ("/dev/zero", "neither a folder"))
)
