"""Bad catalogue entries, sources, servers and packages."""

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hostile_data import png, read, zipped
from hostile_harness import Act, Case

CASES: list[Case] = []
ENTRY = "catalogue entries"
SOURCE = "sources: mirrors, servers, packages, digests"
GOOD: dict[str, Any] = {
    "title": "Bad",
    "licence": "none",
    "files": {"x.zip": {"urls": ["http://127.0.0.1:9/x.zip"]}},
    "splits": {"test": {"reader": "image_folder", "files": ["x.zip"]}},
}


def changed(*path: Any, value: Any) -> dict[str, Any]:
    """Return the good entry with one value replaced."""
    record: dict[str, Any] = json.loads(json.dumps(GOOD))
    target: Any = record
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return record


def entry(name: str, record: Any, *words: str, dataset: str = "bad", split: str = "test") -> None:
    CASES.append(Case(ENTRY, name, lambda i: read(i, record, name=dataset, split=split), words))


FILE = ("files", "x.zip")
entry("no JSON", "{", "--entry", "not valid JSON")
entry("JSON nested 100,000 deep", "[" * 100_000, "--entry")
entry("a number", 3, "bad")
entry("a list", [], "bad")
entry("no title", {k: v for k, v in GOOD.items() if k != "title"}, "bad", "title", "missing")
entry("no licence", {k: v for k, v in GOOD.items() if k != "licence"}, "licence", "missing")
entry("no splits", changed("splits", value={}), "splits")
entry("an unknown key", {**GOOD, "colour": "red"}, "colour", "not known")
entry("a title that is a formula", {**GOOD, "title": '=HYPERLINK("http://x")'}, "title", "formula")
entry("a title of many lines", {**GOOD, "title": "a\nb"}, "title", "control character")
entry("a title of 10,000 letters", {**GOOD, "title": "a" * 10_000}, "title", "10000 characters")
entry("a home page that is a script", {**GOOD, "homepage": "javascript:alert(1)"}, "homepage")
entry("a home page that leaves its place", {**GOOD, "homepage": 'https://x"onmouseover="alert(1)'}, "homepage")
entry("an unknown reader", changed("splits", "test", "reader", value="pickle"), "reader")
entry("a reader that is a path", changed("splits", "test", "reader", value="../../os.system"), "reader")
entry("a file that is not listed", changed("splits", "test", "files", value=["y.zip"]), "y.zip", "x.zip")
entry("a reader without files", changed("splits", "test", "files", value=[]), "no files")
entry("a file name with a path", changed("files", value={"../x.zip": {}}), "../x.zip", "plain name")
entry("a file name that is a parent", changed("files", value={"..": {}}), "'..'", "plain name")
entry("a hidden file name", changed("files", value={".ssh": {}}), ".ssh", "plain name")
entry("a file name that looks like an option", changed("files", value={"-rf": {}}), "-rf", "plain name")
entry("a file name with a line break", changed("files", value={"a\nb": {}}), "plain name")
entry("a file name with a null character", changed("files", value={"a\0b": {}}), "plain name")
entry("a file name of 5,000 letters", changed("files", value={"a" * 5000: {}}), "plain name")
entry("an address of a local file", changed(*FILE, "urls", value=["file:///etc/passwd"]), "file:///etc/passwd")
entry("an address of another protocol", changed(*FILE, "urls", value=["ftp://x/y"]), "ftp://x/y", "is not a URL")
entry("an address with a line break", changed(*FILE, "urls", value=["http://x/\r\nHost: y"]), "is not a URL")
entry("addresses that are a number", changed(*FILE, "urls", value=3), "urls")
entry("a digest that is too short", changed(*FILE, "sha256", value="abc"), "sha256")
entry("a digest in capitals", changed(*FILE, "md5", value="A" * 32), "md5")
entry("a negative size", changed(*FILE, "size", value=-1), "size")
entry("a size of text", changed(*FILE, "size", value="large"), "size")
entry("images of half a pixel", {**GOOD, "size": 0.5}, "size")
entry("images of a billion pixels a side", {**GOOD, "size": 10**9}, "size")
entry("seven channels", {**GOOD, "channels": 7}, "channels")
entry("two classes of one name", {**GOOD, "classes": ["a", "a"], **changed(*FILE, "path", value="")}, "no source")
PACKAGE = {"kind": "wheel", "name": "x", "member": "y"}
for what, bad in {
    "an option": "--index-url=http://x", "an option of apt": "-oAPT::Update::Pre-Invoke::=touch", "an address": "x @ http://y/z.whl",
    "a path": "../x", "a command": "x; touch y", "two words": "x y", "nothing": "",
}.items():  # fmt: skip
    entry(
        f"a package name that is {what}",
        changed(*FILE, "packages", value=[{**PACKAGE, "name": bad}]),
        "packages",
        "name",
    )
entry(
    "a package version that is an option",
    changed(*FILE, "packages", value=[{**PACKAGE, "version": "1 --pre"}]),
    "version",
)
entry("a package of an unknown kind", changed(*FILE, "packages", value=[{**PACKAGE, "kind": "gem"}]), "kind")
entry("a split that does not exist", GOOD, "no split 'train'", split="train")
for what, bad in {
    "with a path": "../x", "with a slash": "a/b", "with a dot": "a.b", "with a line break": "a\n", "in capitals": "Bad",
    "of nothing": "", "with HTML": "<b>", "of 300 letters": "a" * 300, "with Cyrillic letters": "аbс",
}.items():  # fmt: skip
    entry(f"a data set name {what}", GOOD, "data set name", dataset=bad)
    entry(f"a split name {what}", changed("splits", value={bad: GOOD["splits"]["test"]}), "split name", split=bad)


def generator(name: str, *words: str, **options: Any) -> None:
    given = {"generator": "uniform_noise", "count": 2, "size": 8, "channels": 1, **options}
    record = {"title": "Bad", "licence": "none", "splits": {"test": {"reader": "generator", "options": given}}}
    entry(f"generator: {name}", record, *words)


generator("unknown", "no generator 'os.system'", generator="os.system")
generator("minus one image", "count", count=-1)
generator("no images", "count", count=0)
generator("a million million images", "count", count=10**12)
generator("images for more memory than there is", "GiB", count=10_000_000, size=1024, channels=3)
generator("a count of text", "count", count="many")
generator("images of no size", "size", size=0)
generator("images of a billion pixels a side", "size", size=10**9)
generator("seven channels", "channels", channels=7)
generator("an unknown option", "colour", colour="red")
generator("a negative seed", "seed", seed=-1)
generator("a seed of text", "generator", seed="x")
generator("a split that does not exist", "'uniform_noise'", part="third")
generator("a share above one", "share is 3.0", generator="objects_on_canvas", size=56, share=3.0)

# --- sources ---

BODY = zipped({"a/1.png": png(), "b/1.png": png()})


def digest(data: bytes, kind: str = "sha256") -> str:
    return hashlib.new(kind, data).hexdigest()


def mirror(name: str, data: bytes | None, *words: str, make: Callable[[Path], None] | None = None, **file: Any) -> None:
    """Return a folder that is listed as a mirror."""

    def build(inside: Path) -> Act:
        place = inside / "mirror" / "bad"
        place.mkdir(parents=True)
        if data is not None:
            (place / "x.zip").write_bytes(data)
        if make is not None:
            make(inside)
        act = read(inside, changed("files", value={"x.zip": file}))
        assert not callable(act.run)
        return Act([*act.run, "--mirrors", str(inside / "mirror")], act.folder, act.out)

    CASES.append(Case(SOURCE, f"mirror: {name}", build, words))


mirror("without the file", None, "no source has x.zip", "neither bad/x.zip nor x.zip")
mirror("another SHA-256", BODY, "SHA-256", "is not the expected", sha256="0" * 64)
mirror("another MD5", BODY, "MD5", "is not the expected", md5="0" * 32)
mirror("another content", gzip.compress(BODY), "SHA-256", "is not the expected", content_sha256="0" * 64)
mirror("a content that is cut", gzip.compress(BODY)[:-9], "cannot be unpacked", content_sha256="0" * 64)
mirror("a content that is a bomb", gzip.compress(bytes(64 << 20), 6) * 6, "GiB", content_sha256="0" * 64)
mirror("another size", BODY, "bytes, expected 5", size=5)
mirror("nothing", b"", "0 bytes")
mirror("an HTML page", b" \n<!doctype HTML><p>sign in</p>", "HTML page")
mirror("a Git-LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS")
mirror("a pipe", None, "neither a file nor a folder", make=lambda i: __import__("os").mkfifo(i / "mirror/bad/x.zip"))


def _notes(text: str) -> Callable[[Path], None]:
    def make(inside: Path) -> None:
        (inside / "state" / "bad").mkdir(parents=True)
        (inside / "state" / "bad" / "digests.json").write_text(text)

    return make


mirror("a file other than at first use", BODY, "recorded at first use",
       make=_notes(json.dumps({"x.zip": {"sha256": "0" * 64, "kind": "url"}})))  # fmt: skip
mirror("a record of digests that is no JSON", BODY, "digests.json", make=_notes("{"))
mirror("a record of digests that is a list", BODY, "digests.json", make=_notes("[1]"))
mirror("a record of digests of texts", BODY, "digests.json", make=_notes('{"x.zip": "abc"}'))
mirror("a record of digests that is nested 100,000 deep", BODY, "digests.json", make=_notes("[" * 100_000))


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        to = {"file": "file:///etc/passwd", "ftp": "ftp://127.0.0.1/x", "data": "data:,x", "loop": self.path}
        what = self.path.split("/")[1]
        if what in to:
            self.send_response(302)
            self.send_header("Location", to[what])
            self.end_headers()
            return
        self.send_response(404 if what == "missing" else 403 if what == "refused" else 200)
        length = {"endless": None, "negative": "-5", "words": "many", "more": str(len(BODY) + 10**15)}
        if length.get(what, str(len(BODY))) is not None:
            self.send_header("Content-Length", str(length.get(what, len(BODY))))
        self.end_headers()
        try:
            self.wfile.write(BODY)
            while what == "endless":
                self.wfile.write(bytes(1 << 16))
        except OSError:
            self.close_connection = True


@contextmanager
def _serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def server(name: str, what: str, *words: str, **file: Any) -> None:
    def build(inside: Path) -> Act:
        def run() -> None:
            from reprood.data.catalogue import parse_entry
            from reprood.data.dataset import prepare_dataset
            from reprood.data.download import Patience
            from reprood.data.sources import fetch_split

            with _serving() as url:
                record = changed("files", value={"x.zip": {**file, "urls": [f"{url}/{what}/x.zip"]}})
                entry = parse_entry("bad", record)
                files = fetch_split("bad", entry, "test", mirrors=(), downloads=inside / "state",
                                    patience=Patience(2.0, 3.0, 2, 0.01))  # fmt: skip
                prepare_dataset("bad", entry, "test", files, inside / "data")

        return Act(run, inside, inside / "data", network=True)

    CASES.append(Case(SOURCE, f"server: {name}", build, words))


server("a redirection to a local file", "file", "no source has x.zip")
server("a redirection to another protocol", "ftp", "no source has x.zip")
server("a redirection to the address itself", "data", "no source has x.zip")
server("redirections in a circle", "loop", "no source has x.zip")
server("no such file", "missing", "HTTP 404")
server("a refusal", "refused", "HTTP 403")
server("no end", "endless", "more than the expected", size=len(BODY))
server("more than was expected", "more", "bytes, expected", size=len(BODY))
server("another file", "other", "is not the expected", sha256="0" * 64)


def _debian(inside: Path, data: bytes, *, kind: str = "debian") -> Act:
    """Return a package that was downloaded before and has changed since."""
    keep = inside / "state" / "packages"
    keep.mkdir(parents=True)
    (keep / f"pack-1{'.deb' if kind == 'debian' else '.whl'}").write_bytes(data)
    package = {"kind": kind, "name": "pack", "version": "1", "member": "x.zip"}
    return read(inside, changed("files", value={"x.zip": {"packages": [package]}}))


for what, bad in {
    "no archive": b"text", "of a head alone": b"!<arch>\n", "of a size of letters": b"!<arch>\n" + b"data.tar".ljust(48) + b"abc".ljust(12),
    "of a negative size": b"!<arch>\n" + b"data.tar".ljust(48) + b"-5".ljust(10) + b"`\n", "cut": b"!<arch>\n" + b"data.tar.gz".ljust(48) + b"9".ljust(10) + b"`\n\x1f\x8b",
}.items():  # fmt: skip
    CASES.append(
        Case(SOURCE, f"Debian package: {what}", lambda i, b=bad: _debian(i, b), ("debian package pack", "pack-1.deb"))
    )
for what, bad in {"no archive": b"text", "without the member": zipped({"y": b""}), "cut": BODY[:-5]}.items():
    CASES.append(
        Case(
            SOURCE, f"wheel: {what}", lambda i, b=bad: _debian(i, b, kind="wheel"), ("wheel package pack", "pack-1.whl")
        )
    )
