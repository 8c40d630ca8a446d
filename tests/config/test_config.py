"""Every kind of mistake in the configuration gives one sentence that names the file and the key."""

import copy

import pytest
import yaml

from reprood.config.benchmark import Benchmark
from reprood.config.load import load_settings, load_suite, suite_path
from reprood.config.perturbations import PUBLISHED_CORRUPTIONS
from reprood.config.settings import Settings
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
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


def test_members_are_written_out_and_a_family_can_be_run():
    members = {"a": {"train": {"classes": [0]}}, "b": {"train": {"classes": [1], "limit": 5}}}
    record = suite(
        {"one": benchmark(members=members), "other": benchmark()},
        [{"benchmark": "one", "methods": ["erm"], "seeds": [7]}, {"benchmark": "other", "methods": ["erm"]}],
    )
    expanded = Suite.model_validate(record)
    assert list(expanded.benchmarks) == ["one_a", "one_b", "other"]
    assert expanded.benchmarks["one_b"].train.classes == (1,)
    assert expanded.benchmarks["one_b"].train.split == "train"
    assert expanded.benchmarks["one_b"].title == "B: b"
    assert expanded.families() == {"one": ("one_a", "one_b")}
    assert list(expanded.jobs()) == [
        ("one_a", "erm", 7), ("one_b", "erm", 7), ("other", "erm", 0), ("other", "erm", 1),
    ]  # fmt: skip
    # jobs get the expanded record, which validates to the same
    assert Suite.model_validate(expanded.model_dump(mode="json")) == expanded


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
    ],
)
def test_a_study_gets_runs_that_exist(study, words):
    record = suite({"b": benchmark()}, [{"benchmark": "b", "methods": ["erm"]}])
    with pytest.raises(ValueError, match=words):
        Suite.model_validate({**record, "studies": {"s": {"use": "x", "title": "S", **study}}})
