"""Every kind of mistake in the configuration gives one sentence that names the file and the key."""

import copy

import pytest
import yaml

from reprood.config.benchmark import Benchmark
from reprood.config.families import Splits
from reprood.config.load import load_settings, load_suite, suite_path
from reprood.config.perturbations import PUBLISHED_CORRUPTIONS
from reprood.config.settings import Settings
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.seeds import hashed_seed
from reprood.core.yaml import read_yaml
from reprood.images.registry import CORRUPTION_NAMES as NAMES

SUITE = {
    "title": "Toy",
    "scale": "reduced",
    "seeds": [0, 1],
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


def write(tmp_path, change=None):
    suite = copy.deepcopy(SUITE)
    if change:
        change(suite)
    folder = tmp_path / "config" / "suites"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.yaml").write_text(yaml.safe_dump(suite))
    return tmp_path


def test_a_good_suite(tmp_path):
    suite = load_suite("toy", write(tmp_path))
    assert list(suite.jobs()) == [("toy", "erm", 0), ("toy", "erm", 1)]
    assert list(suite.benchmarks["toy"].splits()) == ["train", "validation", "test", "noise"]
    assert suite.benchmarks["toy"].role("noise") == "ood"


def test_the_papers_scale_is_single_precision(tmp_path):
    change = {"scale": "paper", "precision": "fp32"}
    assert load_suite("toy", write(tmp_path, lambda suite: suite.update(change))).precision == "fp32"


def set_in(*path, value):
    def change(suite):
        target = suite
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def corrupted(names):
    def change(suite):
        benchmark = suite["benchmarks"]["toy"]
        benchmark["evaluations"] = ["classification", "corruption"]
        benchmark["corruption"] = {"names": names}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_in("colour", value="red"), ["colour", "not known"]),
        (set_in("scale", value="huge"), ["scale", "reduced", "huge"]),
        (set_in("scale", value="paper"), ["precision is 'auto'", "set precision: fp32"]),
        (lambda s: s.update(scale="paper", precision="bf16"), ["precision is 'bf16'", "set precision: fp32"]),
        (set_in("seeds", value=[]), ["seeds"]),
        (lambda s: s.pop("title"), ["title", "missing"]),
        (set_in("benchmarks", "toy", "train", "limit", value=0), ["benchmarks.toy.train.limit", "greater"]),
        (set_in("benchmarks", "toy", "ood", "noise", "shift", value="odd"), ["benchmarks.toy.ood.noise.shift", "near"]),
        (set_in("benchmarks", "toy", "preparation", "channels", value=2), ["preparation.channels", "1"]),
        (set_in("benchmarks", "toy", "ood", value={}), ["benchmarks.toy", "detection"]),
        (set_in("runs", value=[{"benchmark": "tay", "methods": ["erm"]}]), ["tay", "known: toy"]),
        (set_in("runs", value=[{"benchmark": "toy", "methods": ["arm"]}]), ["arm", "known: erm"]),
        (set_in("runs", value=[SUITE["runs"][0], SUITE["runs"][0]]), ["twice", "toy/erm/0"]),
        (set_in("methods", "Bad Name", value={"use": "erm", "label": "x"}), ["Bad Name", "lower-case"]),
        (
            set_in("benchmarks", "toy", "train", "style", value="cubist"),
            ["benchmarks.toy.train.style: there is no style 'cubist'; known: "],
        ),
        (
            set_in("benchmarks", "toy", "ood", "noise", "style", value="cubist"),
            ["benchmarks.toy.ood.noise.style: there is no style 'cubist'"],
        ),
        (
            corrupted(["frost"]),
            ["benchmarks.toy", "needs the auxiliary set 'frost_cifar'", "set corruption.frost to 'drawn'"],
        ),
        (
            set_in("benchmarks", "toy", "train", "classes", value=[True, False]),
            ["benchmarks.toy.train.classes", "write 1 and 0 for true and false"],
        ),
        (corrupted(["rain"]), ["benchmarks.toy.corruption.names: there is no corruption 'rain'; known: "]),
    ],
)
def test_mistakes_in_a_suite(tmp_path, change, words):
    with pytest.raises(ReproodError) as caught:
        load_suite("toy", write(tmp_path, change))
    message = str(caught.value)
    assert "toy.yaml" in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_unknown_suite_lists_the_known(tmp_path):
    with pytest.raises(ReproodError, match="known suites: toy"):
        suite_path("tay", write(tmp_path))


def test_doubled_key(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(ReproodError, match="'a' is given twice"):
        read_yaml(path)


def test_not_yaml(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: [1\n")
    with pytest.raises(ReproodError, match="not valid YAML"):
        read_yaml(path)


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ReproodError, match="not valid YAML"):
        read_yaml(path)


def test_settings():
    assert load_settings({"mirrors": "/somewhere"}).mirrors == ("/somewhere",)
    assert load_settings({}) == Settings()
    with pytest.raises(ReproodError, match=r"config/config.yaml: device: .*'gpu'"):
        load_settings({"device": "gpu"})
    with pytest.raises(ReproodError, match="mirors: this key is not known"):
        load_settings({"mirors": []})


def benchmark(**changes):
    source = {"dataset": "letters", "split": "train"}
    return {
        "title": "B", "preparation": {"size": 28, "channels": 1}, "train": source, "validation": source,
        "test": source, "evaluations": ["classification"], **changes,
    }  # fmt: skip


def suite(benchmarks, runs, **more):
    return {
        "title": "S", "scale": "reduced", "seeds": [0, 1], "benchmarks": benchmarks,
        "methods": {"erm": {"use": "erm", "label": "E"}}, "runs": runs, **more,
    }  # fmt: skip


MEMBERS = {"a": {"train": {"classes": [0]}}, "b": {"train": {"classes": [1], "limit": 5}}}


def test_replicate_r_of_a_family_runs_on_member_r_mod_k():
    record = suite(
        {"one": benchmark(members=MEMBERS), "other": benchmark()},
        [{"benchmark": "one", "methods": ["erm"], "seeds": 4}, {"benchmark": "other", "methods": ["erm"]}],
    )
    expanded = Suite.model_validate(record)
    assert sorted(expanded.benchmarks) == ["one_a", "one_b", "other"]
    assert expanded.benchmarks["one_b"].train.classes == (1,)
    assert expanded.benchmarks["one_b"].train.split == "train"
    assert expanded.benchmarks["one_b"].title == "B: b"
    assert expanded.families() == {"one": ("one_a", "one_b")}
    assert expanded.record("one").title == "B"
    assert list(expanded.jobs()) == [
        ("one_a", "erm", 0), ("one_b", "erm", 1), ("one_a", "erm", 2), ("one_b", "erm", 3),
        ("other", "erm", 0), ("other", "erm", 1),
    ]  # fmt: skip
    # jobs get a record that validates to the same, however many members there are
    written = expanded.model_dump(mode="json")
    assert list(written["benchmarks"]) == ["other"]
    assert Suite.model_validate(written) == expanded


SPLIT = {
    "train": {"dataset": "letters", "split": "train", "classes": "known", "limit": 9},
    "ood": {"unseen": {"dataset": "letters", "split": "test", "classes": "unknown", "shift": "near"}},
    "splits": {"classes": 10, "known": 6},
}


def test_every_replicate_has_its_own_random_split_of_the_classes():
    record = suite({"one": benchmark(**SPLIT)}, [{"benchmark": "one", "methods": ["erm"], "seeds": [0, 7]}])
    expanded = Suite.model_validate(record)
    assert list(expanded.jobs()) == [("one_s0", "erm", 0), ("one_s7", "erm", 7)]
    assert sorted(expanded.benchmarks) == ["one_s0", "one_s7"]
    seventh = expanded.benchmarks["one_s7"]
    assert (seventh.family, seventh.member, seventh.replicate) == ("one", "s7", 7)
    order = sorted(range(10), key=lambda c: hashed_seed("split", 0, 7, c))
    assert seventh.train.classes == tuple(sorted(order[:6]))
    assert seventh.ood["unseen"].classes == tuple(sorted(order[6:]))
    assert seventh.train.limit == 9
    assert seventh.validation.classes is None
    assert "own random split into 6 known and 4 unknown classes" in seventh.note
    assert seventh.covers == "class splits, seeds and test images"
    assert Suite.model_validate(expanded.model_dump(mode="json")) == expanded
    drawn = {tuple(Splits(classes=10, known=6).draw(r)["known"]) for r in range(40)}
    assert len(drawn) > 30  # of 210
    assert Splits(classes=10, known=6, seed=1).draw(7) != Splits(classes=10, known=6).draw(7)


def test_more_replicates_are_added_to_those_of_the_file():
    record = suite({"one": benchmark(**SPLIT)}, [{"benchmark": "one", "methods": ["erm"], "seeds": 2}])
    record["methods"]["other"] = {"use": "erm", "label": "O"}
    record["runs"].append({"benchmark": "one", "methods": ["other"], "seeds": [1]})
    more = Suite.model_validate({**record, "replicates": {"one": {"erm": 4, "other": 1}}})
    assert list(more.jobs()) == [
        *((f"one_s{r}", "erm", r) for r in range(4)), ("one_s0", "other", 0), ("one_s1", "other", 1),
    ]  # fmt: skip
    assert Suite.model_validate(more.model_dump(mode="json")) == more


@pytest.mark.parametrize(
    ("changes", "run", "words"),
    [
        ({"train": SPLIT["train"]}, {}, "only a benchmark with 'splits' has known and unknown classes"),
        ({**SPLIT, "splits": {"classes": 6, "known": 6}}, {}, "known is 6 of 6 classes; expected fewer than 6"),
        ({**SPLIT, "members": MEMBERS}, {}, "has 'members' and 'splits'; keep one of them"),
        ({"members": MEMBERS}, {"benchmark": "one_b"}, "name 'one', and choose the member by its seeds"),
        (
            {"members": {"a": {"test": {"classes": [1, 2]}}, "b": {"test": {"classes": [2, 1]}}}},
            {},
            "the members a and b are the same, and the same unit is no second replicate",
        ),
        ({"members": MEMBERS}, {"benchmark": "two"}, "names the benchmark 'two'; known: one"),
        ({}, {"seeds": 0}, "0 is no number of replicates; expected 1 to 10,000, or a list of seeds"),
        (
            {"members": {"a": {}, "b": {"evaluations": ["classification", "localisation"]}}},
            {},
            "differ in their splits",
        ),
    ],
)
def test_wrong_families_are_explained(changes, run, words, tmp_path):
    record = suite({"one": benchmark(**changes)}, [{"benchmark": "one", "methods": ["erm"], **run}])
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(ReproodError) as caught:
        load_suite(str(tmp_path / "own.yaml"), tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_a_claim_is_judged_on_a_benchmark_that_exists():
    record = suite({"b": benchmark()}, [{"benchmark": "b", "methods": ["erm"]}])
    assert Suite.model_validate({**record, "judge": {"p/c": "b"}}).judge == {"p/c": "b"}
    with pytest.raises(ValueError, match="judge.p/c names the benchmark 'd'; known: b"):
        Suite.model_validate({**record, "judge": {"p/c": "d"}})


def extending(folder, **files):
    (folder / "config" / "suites").mkdir(parents=True)
    for name, record in files.items():
        (folder / "config" / "suites" / f"{name}.yaml").write_text(yaml.safe_dump(record))
    return folder


def test_a_suite_extends_another(tmp_path):
    first = suite({"b": benchmark(), "c": benchmark()}, [{"benchmark": "b", "methods": ["erm"]}])
    more = {
        "extends": "first", "title": "More", "seeds": 3, "benchmarks": {"b": {"note": "N"}},
        "methods": {"smooth": {"use": "erm", "label": "S"}}, "runs": [{"benchmark": "c", "methods": ["smooth"]}],
    }  # fmt: skip
    root = extending(tmp_path, first=first, more=more)
    made = load_suite("more", root)
    assert (made.title, made.name, made.seeds) == ("More", "more", (0, 1, 2))
    assert made.benchmarks["b"].note == "N"
    assert made.benchmarks["b"].preparation.size == 28
    assert list(made.methods) == ["erm", "smooth"]
    assert [job[:2] for job in made.jobs()] == [("b", "erm")] * 3 + [("c", "smooth")] * 3


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"extends": "more"}, "extend each other in a circle (more -> first -> more); remove one 'extends'"),
        ({"extends": "none"}, "first.yaml: extends: There is no suite 'none'"),
        ({"extends": 3}, "first.yaml: extends is 3; expected the name or the path of a suite"),
    ],
)
def test_what_a_suite_extends_must_exist(first, words, tmp_path):
    root = extending(tmp_path, first=first, more={"extends": "first"})
    with pytest.raises(ReproodError) as caught:
        load_suite("more", root)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluations": ["classification", "corruption"]}, "'corruption' needs 'corruption'"),
        ({"occlusion": {"sides": [4]}}, "the evaluation 'occlusion' is not among 'evaluations'"),
        ({"evaluations": ["corruption"], "corruption": {"names": ["fog", "fog"]}}, "a corruption is named twice"),
        ({"evaluations": ["corruption"], "corruption": {"severities": [0]}}, "a severity is one of 1 to 5, not 0"),
        ({"auxiliary": {"corrupted": {"dataset": "a", "split": "b"}}}, "corrupted is used twice"),
        ({"label_noise": {"strength": 1.5}}, "less than or equal to 1"),
        ({"evaluations": ["detection"]}, "needs at least one data set under 'ood'"),
        ({"evaluations": ["adversarial"], "attacks": {"Big": {}}}, "the attack name 'Big'"),
    ],
)
def test_evaluations_and_their_options_agree(changes, words):
    with pytest.raises(ValueError, match=words):
        Benchmark.model_validate(benchmark(**changes))


def test_frost_has_photographs_or_is_declared_as_drawn(tmp_path):
    def frosty(suite, **options):
        corrupted(["fog", "frost"])(suite)
        suite["benchmarks"]["toy"]["corruption"] |= options

    declared = load_suite("toy", write(tmp_path / "a", lambda suite: frosty(suite, frost="drawn")))
    assert declared.benchmarks["toy"].corruption.frost_set == ""

    def with_photographs(suite):
        frosty(suite, strengths="imagenet")
        suite["benchmarks"]["toy"]["auxiliary"] = {"frost_imagenet": {"dataset": "frost", "split": "imagenet_28"}}

    given = load_suite("toy", write(tmp_path / "b", with_photographs))
    assert given.benchmarks["toy"].corruption.frost_set == "frost_imagenet"
    without = load_suite("toy", write(tmp_path / "c", corrupted(["fog"])))
    assert without.benchmarks["toy"].corruption.frost_set == ""


def test_the_default_corruptions_exist():
    assert set(PUBLISHED_CORRUPTIONS) <= set(NAMES)


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ({"benchmark": "none"}, "names the benchmark 'none'"),
        ({"benchmark": "b", "methods": ["godin"]}, "needs the run b/godin/0; add it to 'runs'"),
        ({"benchmark": "b", "methods": ["erm"], "seeds": [9]}, "needs the run b/erm/9"),
        ({"benchmark": "b", "data": False, "ood": True}, "reads its benchmark's images; remove data: false"),
    ],
)
def test_a_study_gets_runs_that_exist(study, words):
    record = suite({"b": benchmark()}, [{"benchmark": "b", "methods": ["erm"]}])
    with pytest.raises(ValueError, match=words):
        Suite.model_validate({**record, "studies": {"s": {"use": "x", "title": "S", **study}}})
