"""Bad settings: suites (`reprood check`) and the run configuration."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hostile_harness import CANARY, ROOT, Act, Case

CASES: list[Case] = []
SUITE = "suites"
SETTINGS = "run configuration"
CROWD = "\n".join(["a: &a [x, x, x, x, x, x, x, x, x, x]"] + [
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)])  # fmt: skip
MAPS = "\n".join(["a: &a {x: 1, y: 1}"] + [
    f"{b}: &{b} {{{', '.join(f'k{i}: *{a}' for i in range(9))}}}" for a, b in zip("abcdefgh", "bcdefghi", strict=True)])  # fmt: skip

GOOD: dict[str, Any] = {
    "title": "Toy",
    "scale": "reduced",
    "seeds": [0],
    "settings": {"backbone": {"name": "wrn", "depth": 10, "width": 1}, "training": {"epochs": 1, "batch_size": 8}},
    "benchmarks": {
        "toy": {
            "title": "Toy",
            "preparation": {"size": 28, "channels": 1},
            "train": {"dataset": "letters", "split": "train", "limit": 10},
            "validation": {"dataset": "letters", "split": "train", "skip": 10, "limit": 10},
            "test": {"dataset": "letters", "split": "test"},
            "ood": {"noise": {"dataset": "uniform_noise", "split": "test", "shift": "noise"}},
        }
    },
    "methods": {"erm": {"use": "erm", "label": "Cross-entropy"}},
    "runs": [{"benchmark": "toy", "methods": ["erm"]}],
}


def dumped(record: Any) -> bytes:
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True).encode()


def suite(name: str, text: bytes | Callable[[Path], bytes], *words: str) -> None:
    def build(inside: Path) -> Act:
        (inside / "bad.yaml").write_bytes(text(inside) if callable(text) else text)
        return Act(["check", "--suite", str(inside / "bad.yaml")], ROOT)

    CASES.append(Case(SUITE, name, build, words))


def changed(name: str, path: tuple[Any, ...], value: Any, *words: str, base: dict[str, Any] = GOOD) -> None:
    """Return the good suite with one value replaced."""
    record = copy.deepcopy(base)
    target: Any = record
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    suite(name, dumped(record), *words)


# --- YAML itself ---

TEXT = dumped(GOOD)
for title, text, words in (
    ("nothing", b"", ("valid dictionary",)),
    ("blanks", b"   \n\n", ("valid dictionary",)),
    ("a comment alone", b"# nothing\n", ("valid dictionary",)),
    ("a word", b"suite\n", ("valid dictionary",)),
    ("a list", b"- a\n- b\n", ("valid dictionary",)),
    ("tabs", b"title: x\n\tscale: reduced\n", ("not valid YAML", "line 2")),
    ("no UTF-8", b"title: \xff\xfe\n", ("not valid YAML", "utf-8")),
    ("UTF-16", "title: x\n".encode("utf-16"), ("not valid YAML",)),
    ("null characters", b"title: a\0b\n", ("not valid YAML",)),
    ("control characters", b"title: a\x07b\n", ("not valid YAML",)),
    ("random bytes", bytes(range(256)), ("not valid YAML",)),
    ("an open bracket", b"title: [x\n", ("not valid YAML", "line 2")),
    ("an open quote", b'title: "x\n', ("not valid YAML",)),
    ("a key twice", TEXT + b"title: Again\n", ("'title' is given twice",)),
    ("an inner key twice", TEXT.replace(b"channels: 1", b"channels: 1\n      size: 9"), ("'size' is given twice",)),
    ("two documents", TEXT + b"---\n" + TEXT, ("not valid YAML", "document")),
    ("an unknown anchor", b"title: *nobody\n", ("not valid YAML", "nobody")),
    ("an anchor that holds itself", b"title: &a [*a]\n", ("contain itself",)),
    ("a mapping that holds itself", b"title: &a {b: *a}\n", ("contain itself",)),
    ("a merge that holds itself", b"a: &a\n  <<: *a\n", ("contain itself",)),
    ("a list of a thousand million texts", CROWD.encode(), ("more than 200,000 values",)),
    ("a mapping of millions of mappings", MAPS.encode(), ("more than 200,000 values",)),
    ("brackets nested 10,000 deep", b"title: " + b"[" * 10_000, ("not valid YAML",)),
    ("brackets nested 2,000 deep, closed", b"title: " + b"[" * 2000 + b"]" * 2000, ("nested too deeply",)),
    ("mappings nested 900 deep", b"title: " + b"{a: " * 900 + b"1" + b"}" * 900, ("nested too deeply",)),
    ("3 MB", b"title: " + b"x" * 3_000_000, ("3.0 MB",)),
    ("a number of 10,000 digits", TEXT.replace(b"seeds:\n- 0", b"seeds: [" + b"9" * 10_000 + b"]"), ("not valid YAML",)),
    ("NaN", TEXT.replace(b"epochs: 1", b"epochs: .nan"), ("not finite",)),
    ("infinity", TEXT.replace(b"epochs: 1", b"epochs: -.inf"), ("not finite",)),
    ("a key that is a number", b"1: x\n", ("the key 1 is not text",)),
    ("a key that is true", b"yes: x\n", ("not text",)),
    ("a key that is nothing", b"~: x\n", ("not text",)),
    ("a key that is a list", b"? [a, b]\n: x\n", ("not valid YAML",)),
    ("binary data", b"title: !!binary aGVsbG8=\n", ("binary", "not allowed")),
    ("a set", b"title: !!set {a, b}\n", ("set", "not allowed")),
    ("an ordered mapping", b"title: !!omap [a: 1]\n", ("omap", "not allowed")),
    ("a date that is marked", b"title: !!timestamp 2020-01-01\n", ("timestamp", "not allowed")),
    ("a tag of one's own", b"title: !mine x\n", ("!mine", "not allowed")),
    ("a name of Python", b"title: !!python/name:os.system\n", ("python/name", "not allowed")),
    ("a module of Python", b"title: !!python/module:os\n", ("python/module", "not allowed")),
):  # fmt: skip
    suite(f"YAML: {title}", text, "bad.yaml", *words)
for title, template in {
    "applied": "title: !!python/object/apply:os.system ['touch {}']\n",
    "made new": "title: !!python/object/new:subprocess.Popen [['touch', '{}']]\n",
    "hidden in a merge": "a: &a !!python/object/apply:os.system ['touch {}']\n<<: *a\n",
    "as a key": "? !!python/object/apply:os.system ['touch {}']\n: x\n",
    "written with its full name": "%TAG ! tag:yaml.org,2002:python/\n---\ntitle: !object/apply:os.system ['touch {}']\n",
}.items():
    suite(f"YAML: an object of Python, {title}",
          lambda i, t=template: t.format(i.parent / "outside" / CANARY).encode(), "bad.yaml", "not allowed")  # fmt: skip

# --- keys and values ---

for key in ("title", "scale", "seeds", "benchmarks", "methods", "runs"):
    suite(f"no {key}", dumped({k: v for k, v in GOOD.items() if k != key}), "bad.yaml", key, "missing")
    changed(f"{key} that is nothing", (key,), None, "bad.yaml", key)
for key in ("benchmarks", "methods", "runs", "seeds"):
    changed(f"{key} of a number", (key,), 0 if key == "seeds" else 3, "bad.yaml", key)  # seeds: 3 means 0, 1 and 2
    changed(f"{key} without any", (key,), [] if key in ("runs", "seeds") else {}, "bad.yaml", key)
changed("benchmarks that are a list", ("benchmarks",), ["toy"], "benchmarks")
changed("an unknown key", ("colour",), "red", "colour", "not known")
changed("an unknown scale", ("scale",), "huge", "scale")
changed("settings that are a list", ("settings",), [1], "settings")
changed("a negative seed", ("seeds",), [-1], "seeds", "greater than or equal to 0")
changed("a seed beyond 32 bits", ("seeds",), [2**70], "seeds")
changed("a seed that is a fraction", ("seeds",), [0.5], "seeds")
changed("a seed twice", ("seeds",), [1, 1], "twice", "toy/erm/1")
changed("a precision of one bit", ("precision",), "int1", "precision")

TOY = ("benchmarks", "toy")
for title, bad in {
    "with a path": "../toy", "absolute": "/tmp/toy", "with a slash": "a/b", "of two dots": "..", "with a line break": "a\nb",
    "with HTML": "<script>alert(1)</script>", "with a blank": "a b", "with a quote": "a'; touch x; '", "with braces": "{toy}",
    "in capitals": "TOY", "with a star": "*", "of 300 letters": "a" * 300, "of nothing": "", "with an escape sequence": "\x1b[2J",
    "that is a formula": "=1+1", "that looks like an option": "--help", "with a full-width letter": "ａ",
}.items():  # fmt: skip
    for what in ("benchmark", "method"):
        record = copy.deepcopy(GOOD)
        part = record[f"{what}s"]
        part[bad] = part.pop("toy" if what == "benchmark" else "erm")
        record["runs"] = [{"benchmark": bad, "methods": ["erm"]} if what == "benchmark" else {
            "benchmark": "toy", "methods": [bad]}]  # fmt: skip
        suite(f"a {what} name {title}", dumped(record), "bad.yaml", f"{what} name")
changed("a split name with a path", (*TOY, "ood"), {"../x": GOOD["benchmarks"]["toy"]["ood"]["noise"]}, "split name")
changed(
    "a split name that is reserved", (*TOY, "ood"), {"test": GOOD["benchmarks"]["toy"]["ood"]["noise"]}, "used twice"
)
changed("an unknown data set", (*TOY, "train", "dataset"), "nobody", "no data set 'nobody'", "toy")
changed("a data set that is a path", (*TOY, "train", "dataset"), "../../etc", "no data set '../../etc'")
changed("an unknown split", (*TOY, "train", "split"), "nobody", "no split 'nobody'")
changed("a negative number of rows", (*TOY, "train", "limit"), -5, "train.limit")
changed("no rows", (*TOY, "train", "limit"), 0, "train.limit")
changed("rows that are text", (*TOY, "train", "limit"), "many", "train.limit")
changed("negative rows left out", (*TOY, "train", "skip"), -1, "train.skip")
changed("a negative class", (*TOY, "train", "classes"), [-1], "classes")
changed("a class twice", (*TOY, "train", "classes"), [1, 1], "classes")
changed("no classes", (*TOY, "train", "classes"), [], "classes")
changed("classes that are names", (*TOY, "train", "classes"), ["a"], "classes")
changed("an unknown style", (*TOY, "ood", "noise", "style"), "baroque", "no style 'baroque'")
changed("an unknown shift", (*TOY, "ood", "noise", "shift"), "sideways", "shift")
changed("images of a billion pixels a side", (*TOY, "preparation", "size"), 10**9, "preparation.size")
changed("images of minus one pixel", (*TOY, "preparation", "size"), -1, "preparation.size")
changed("images of NaN pixels", (*TOY, "preparation", "size"), "nan", "preparation.size")
changed("two channels", (*TOY, "preparation", "channels"), 2, "preparation.channels")
changed("an unknown evaluation", (*TOY, "evaluations"), ["guess"], "evaluations")
changed("detection without outliers", (*TOY, "ood"), {}, "detection", "ood")
changed("corruption that is not requested", (*TOY, "corruption"), {}, "corruption", "evaluations")
changed("a gate above one", (*TOY, "gate"), {"accuracy": 1.5}, "gate.accuracy")
changed("an unknown detector", (*TOY, "detectors"), {"mps": {}}, "no detector 'mps'", "msp")
changed("a detector that is a path", (*TOY, "detectors"), {"../knn": {}}, "no detector '../knn'")
changed("an unknown option of a detector", (*TOY, "detectors"), {"knn": {"n": 5}}, "knn.n")
changed("minus one neighbour", (*TOY, "detectors"), {"knn": {"k": -1}}, "knn.k")
changed("a percentile of 300", (*TOY, "detectors"), {"react": {"percentile": 300}}, "react.percentile")
changed("a temperature of nothing", (*TOY, "detectors"), {"energy": {"temperature": 0}}, "energy.temperature")
changed("detectors that are a list", (*TOY, "detectors"), ["msp"], "detectors")
changed("members that are a list", (*TOY, "members"), ["a"], "members")
changed("a member that is a text", (*TOY, "members"), {"a": "x"}, "member a")
changed("a member with a path", (*TOY, "members"), {"../a": {}}, "benchmark name")
changed("label noise above one", (*TOY, "label_noise"), {"strength": 2}, "label_noise.strength")
changed("a negative seed of label noise", (*TOY, "label_noise"), {"strength": 0.1, "seed": -1}, "label_noise.seed")
changed("an unknown noise of labels", (*TOY, "label_noise"), {"strength": 0.1, "kind": "pink"}, "label_noise.kind")
changed("an unknown attack", (*TOY, "attacks"), {"pgd": {"kind": "nuke"}}, "attacks.pgd.kind")
changed("an attack of minus one step", (*TOY, "attacks"), {"pgd": {"steps": -1}}, "attacks.pgd.steps")
changed("an attack by a whole image", (*TOY, "attacks"), {"pgd": {"eps": 8}}, "attacks.pgd")
changed("an attack named with a path", (*TOY, "attacks"), {"../pgd": {}}, "attack")
CORRUPT = {
    **GOOD,
    "benchmarks": {"toy": {**GOOD["benchmarks"]["toy"], "evaluations": ["corruption"], "corruption": {}}},
}
changed("an unknown corruption", (*TOY, "corruption"), {"names": ["rust"]}, "no corruption 'rust'", base=CORRUPT)
changed("a corruption twice", (*TOY, "corruption"), {"names": ["fog", "fog"]}, "twice", base=CORRUPT)
changed("a severity of nine", (*TOY, "corruption"), {"severities": [9]}, "1 to 5", base=CORRUPT)
changed(
    "a baseline that does not run",
    (*TOY, "corruption"),
    {"baseline": "nobody", "frost": "drawn"},
    "nobody",
    base=CORRUPT,
)

ERM = ("methods", "erm")
changed("an unknown method", (*ERM, "use"), "magic", "there is no 'magic' in reprood.methods", "erm")
changed("a method that is a module", (*ERM, "use"), "os", "there is no 'os' in reprood.methods")
changed("a method that is a path", (*ERM, "use"), "../nets/wrn", "there is no '../nets/wrn' in reprood.methods")
changed("a method with dots", (*ERM, "use"), "erm.__builtins__", "there is no 'erm.__builtins__' in reprood.methods")
changed("no label", (*ERM, "label"), "", "label")
changed("a label that is a formula", (*ERM, "label"), '=HYPERLINK("http://x","y")', "label", "formula")
changed("a label that is a sum", (*ERM, "label"), "+1+cmd|' /C calc'!A1", "label", "formula")
changed("a label that is a difference", (*ERM, "label"), "-2+3", "label", "formula")
changed("a label that is a function", (*ERM, "label"), "@SUM(A1)", "label", "formula")
changed("a label that begins with a tab", (*ERM, "label"), "\t=1", "label", "control character")
changed("a label of two lines", (*ERM, "label"), "a\r\n=1", "label", "control character")
changed("a label of 10,000 letters", (*ERM, "label"), "x" * 10_000, "label", "10000 characters")
changed("a label that turns the reading direction", (*ERM, "label"), "a\u202eb", "label", "control character")
changed("settings of a method that are a text", (*ERM, "set"), "fast", "set")
changed("an unknown setting", (*ERM, "set"), {"colour": 1}, "toy/erm", "colour")
changed("an unknown inner setting", (*ERM, "set"), {"training": {"speed": 9}}, "toy/erm", "training.speed")
for title, path, bad, key in (
    ("minus one epoch", "epochs", -1, "training.epochs"), ("no epochs", "epochs", 0, "training.epochs"),
    ("a million million epochs", "epochs", 10**12, "training.epochs"), ("half an epoch", "epochs", 0.5, "training.epochs"),
    ("a batch of text", "batch_size", "large", "training.batch_size"), ("a negative rate", "lr", -0.1, "training.lr"),
    ("a rate of 1e300", "lr", 1e300, "training.lr"), ("an unknown schedule", "schedule", "random", "training.schedule"),
    ("an unknown optimiser", "optimizer", "os.system", "training.optimizer"), ("a batch of nothing", "batch_size", None, "training.batch_size"),
    ("a batch of a million million", "batch_size", 10**12, "training.batch_size"), ("a decay that is a list", "weight_decay", [1], "training.weight_decay"),
):  # fmt: skip
    changed(title, (*ERM, "set"), {"training": {path: bad}}, "erm", key)
NET = ("settings", "backbone")
changed("no network", NET, {}, "backbone")
changed(
    "an unknown network",
    (*NET, "name"),
    "brain",
    "backbone.name",
    "there is no 'brain' in reprood.nets",
    "did you mean",
)
changed("a network that is a path", (*NET, "name"), "../methods/erm", "backbone.name")
changed("a network that is a list", (*NET, "name"), ["wrn"], "backbone.name")
changed("a network that is a text", NET, "wrn", "backbone")
changed("an unknown option of the network", (*NET, "colour"), 1, "colour")
changed("a network a billion layers deep", (*NET, "depth"), 6 * 10**8 + 4, "depth")
changed("a network a million wide", (*NET, "width"), 10**6, "width")
changed("a network minus one deep", (*NET, "depth"), -1, "depth")
changed("a network of a depth of text", (*NET, "depth"), "deep", "depth")

changed("a run of an unknown benchmark", ("runs",), [{"benchmark": "nobody", "methods": ["erm"]}], "'nobody'", "toy")
changed("a run of an unknown method", ("runs",), [{"benchmark": "toy", "methods": ["nobody"]}], "'nobody'", "erm")
changed("a run twice", ("runs",), GOOD["runs"] * 2, "twice", "toy/erm/0")
changed("a run without methods", ("runs",), [{"benchmark": "toy", "methods": []}], "runs.0.methods")
changed("a run that is a text", ("runs",), ["toy"], "runs.0")
changed("a run with a negative seed", ("runs",), [{"benchmark": "toy", "methods": ["erm"], "seeds": [-3]}], "seeds")
STUDY = {"use": "cnc_toy", "title": "x"}
changed("an unknown study", ("studies",), {"s": {**STUDY, "use": "nobody"}}, "there is no 'nobody' in reprood.studies")
changed(
    "a study that is a path",
    ("studies",),
    {"s": {**STUDY, "use": "../train"}},
    "there is no '../train' in reprood.studies",
)
changed("a study name with a path", ("studies",), {"../s": STUDY}, "study name")
changed("a study of an unknown benchmark", ("studies",), {"s": {**STUDY, "benchmark": "nobody"}}, "'nobody'")
changed(
    "a study of a run that is not made",
    ("studies",),
    {"s": {**STUDY, "benchmark": "toy", "methods": ["oe"]}},
    "toy/oe/0",
)
changed("an unknown setting of a study", ("studies",), {"s": {**STUDY, "set": {"colour": 1}}}, "study s", "colour")
changed("a setting of a study out of range", ("studies",), {"s": {**STUDY, "set": {"steps": -1}}}, "study s", "steps")


def place(name: str, make: Callable[[Path], str], *words: str) -> None:
    CASES.append(Case(SUITE, name, lambda i: Act(["check", "--suite", make(i)], ROOT), words))


def _folder(inside: Path) -> str:
    (inside / "bad.yaml").mkdir()
    return str(inside / "bad.yaml")


def _fifo(inside: Path) -> str:
    import os

    os.mkfifo(inside / "bad.yaml")
    return str(inside / "bad.yaml")


place("name of no suite", lambda i: "nobody", "no suite 'nobody'", "quick")
place("name with a path", lambda i: "../../../etc/passwd", "no suite '../../../etc/passwd'")
place("name with a null character", lambda i: "a\0b", "--config suite", "not valid YAML")
place("name of 5,000 letters", lambda i: "a" * 5000, "no suite")
place("folder named as a suite", _folder, "bad.yaml")
place("pipe named as a suite", _fifo, "bad.yaml")
place("missing file", lambda i: str(i / "missing.yaml"), "missing.yaml")

# --- config/config.yaml, as Snakemake hands it over ---


def settings(name: str, values: Any, *words: str) -> None:
    def build(inside: Path) -> Act:
        def run() -> None:
            from reprood.pipeline.plan import Plan

            Plan(values, ROOT)

        return Act(run, inside)

    CASES.append(Case(SETTINGS, name, build, words))


settings("an unknown key", {"colour": 1}, "config/config.yaml", "colour")
settings("a suite that is a list", {"suite": ["smoke"]}, "suite")
settings("a suite that is missing", {"suite": "nobody"}, "no suite 'nobody'")
settings("mirrors that are a number", {"mirrors": 3}, "mirrors")
settings("a mirror that is a number", {"mirrors": [3]}, "mirrors.0")
settings("offline that is a word", {"offline": "perhaps"}, "offline")
settings("an unknown device", {"device": "tpu"}, "device")
settings("a device that is a command", {"device": "cpu; touch x"}, "device")
settings("minus one second", {"checkpoint_seconds": -1}, "checkpoint_seconds")
settings("NaN seconds", {"checkpoint_seconds": float("nan")}, "checkpoint_seconds")
settings("infinite seconds", {"checkpoint_seconds": float("inf")}, "checkpoint_seconds")
settings("data sets that are a list", {"datasets": ["x"]}, "datasets")
settings("a data set that is a text", {"datasets": {"x": "y"}}, "datasets")
settings("a data set with a path for a name", {"datasets": {"../x": {}}}, "data set name")
settings("a data set without a title", {"datasets": {"x": {"licence": "none", "splits": {}}}}, "x", "title")
settings("a data set with an option of NaN", {"suite": "smoke", "datasets": {"letters": {
    "title": "x", "licence": "none", "splits": {"train": {"reader": "generator", "options": {"share": float("nan")}}}}}},
    "letters")  # fmt: skip
