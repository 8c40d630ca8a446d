"""The command line as people use it: help, version, names that do not exist, old names, tables of verdicts."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import reprood.cli.main as cli
from reprood.audit.verdicts import COLUMNS
from reprood.core.checksums import checked_job
from reprood.core.errors import ReproodError

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ("data", "train", "predict", "adopt", "study", "evaluate", "audit", "examples", "report")
PEOPLE = (
    "init", "score", "evidence", "offload", "list", "show", "why", "watch", "times", "check", "results", "release",
    "fetch", "board",
)  # fmt: skip


def run(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments), prog_name="reprood")


def fails(*arguments: str) -> str:
    """Return the message of a command that fails with one sentence."""
    done = run(*arguments)
    assert isinstance(done.exception, ReproodError), done.output
    return str(done.exception)


def commands(group, path=()):
    """Yield (words, command) of every visible command."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def all_commands():
    import typer

    return list(commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_groups_the_commands_with_those_of_the_workflow_last(option):
    text = run(option).stdout
    panels = [text.index(title) for title in ("Run ─", "Inspect", "Check ─", "Publish ─", "Run by the workflow ─")]
    assert panels == sorted(panels)
    names = [line.split()[1] for line in text.splitlines() if line.startswith("│ ") and line[2].islower()]
    assert names == [*PEOPLE, *WORKFLOW]


def test_subcommands_have_short_help_options_too():
    assert "published release" in run("release", "-h").stdout
    assert "recomputed" in run("release", "verify", "-h").stdout


VERBS = {
    "Apply", "Build", "Check", "Compare", "Compute", "Create", "Download", "Draw", "Execute", "Fetch", "Judge", "List",
    "Pack", "Print", "Reject", "Run", "Select", "Show", "Train", "Validate", "Verify", "Write",
}  # fmt: skip


@pytest.mark.parametrize("words", [words for words, _ in all_commands()], ids=" ".join)
def test_each_help_text_begins_with_a_verb_and_has_a_valid_example(words):
    command = dict(all_commands())[words]
    lines = command.help.splitlines()
    assert lines[0].split()[0] in VERBS
    assert lines[0].endswith(".")
    assert [p.name for p in command.params if p.param_type_name == "option" and not p.help] == []
    (example,) = (line.removeprefix("Example: ").split() for line in lines if line.startswith("Example: "))
    if example[0] == "reprood":
        assert tuple(example[1:][: len(words)]) == words
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in example if word.startswith("--")} <= known
    else:  # the workflow gives these commands their JSON options
        assert example[:3] == ["snakemake", "-n", "-p"]
        assert words[0] in WORKFLOW


DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "config/README.md", ROOT / "published/README.md"]
QUOTED = re.compile(r"(?:^|[`/ ])reprood ([a-z][^`#\n|]*)", re.MULTILINE)  # in code blocks and between backquotes


def quoted_commands(path: Path) -> list[list[str]]:
    """Return the command lines of this package in the code of a document."""
    text = path.read_text()
    code = [*re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE), *re.findall(r"`([^`\n]+)`", text)]
    return [words.split() for part in code for words in QUOTED.findall(part) if "..." not in words]


@pytest.mark.parametrize("path", [d for d in DOCUMENTS if d.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_documents_name_commands_and_options_that_exist(path):
    known = dict(all_commands())
    groups = {words[:1] for words in known if len(words) == 2}
    for line in quoted_commands(path):
        words = tuple(line[:2]) if tuple(line[:1]) in groups else tuple(line[:1])
        if words in groups or words == ("verify",):  # a group alone; the old name for a release before version 0.3
            continue
        assert words in known, line
        options = {option for parameter in known[words].params for option in parameter.opts}
        assert {word for word in line if word.startswith("--")} <= options | {"--help"}, line


def test_documents_have_commands_to_check():
    assert sum(len(quoted_commands(path)) for path in DOCUMENTS) > 25


def test_version():
    from importlib.metadata import version

    assert run("--version").stdout == f"reprood {version('reprood')}\n"


def test_an_unknown_command_suggests_the_closest():
    done = run("chek")
    assert done.exit_code == 2
    assert "Did you mean 'check'?" in done.output


# --- list


def test_lists_are_aligned_unless_tabs_are_requested(monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = run("list", "detectors").stdout.splitlines()
    energy = next(line for line in lines if line.startswith("energy "))
    assert lines[0].index("label") == energy.index("Energy")
    assert "\t" not in energy
    rows = [line.split("\t") for line in run("list", "detectors", "--tsv").stdout.splitlines()]
    assert rows[0] == ["detector", "label", "inputs", "score", "paper"]
    assert {len(row) for row in rows} == {5}


def test_an_unknown_list_suggests_the_closest():
    message = fails("list", "suite")
    assert message.startswith("There is no list 'suite'; did you mean 'suites'? Choose one of datasets")
    assert "did you mean" not in fails("list", "zzz")


@pytest.mark.parametrize("what", ["datasets", "suites", "benchmarks", "methods", "claims"])
def test_outside_a_checkout_lists_are_one_sentence(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "run this command in a checkout of reprood" in fails("list", what)


# --- show


def verdict(claim: str, verdict: str, **values) -> dict:
    row = dict.fromkeys(COLUMNS, float("nan"))
    texts = {"paper": "toy", "statement": "A beats B.", "kind": "difference", "benchmark": "digits", "metric": "auroc"}
    texts |= {"first": "a (msp)", "second": "b (msp)", "reason": "because"}
    return row | texts | {"claim": claim, "verdict": verdict} | values


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout with verdicts of the suite small."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("suite: small\n")
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)
    rows = [
        verdict("wins", "supported at reduced scale", effect=0.021, low=0.01, high=0.032, published_effect=0.05),
        verdict("loses", "open", benchmark=float("nan")),
        verdict("area", "open", metric="area", effect=-0.5, low=-1.0, high=0.0, paper="other"),
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "verdicts.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_prints_effects_intervals_and_published_values_in_points(place):
    lines = run("show", "toy").stdout.splitlines()
    assert lines[0] == "toy in suite small: 1 supported at reduced scale, 1 open."
    assert lines[2].split("  ")[0] == "claim"
    cells = [cell.strip() for cell in lines[3].split("  ") if cell.strip()]
    assert cells == [
        "wins",
        "digits",
        "a (msp) - b (msp): auroc",
        "+2.1",
        "+1.0 to +3.2",
        "+5.0",
        "supported at reduced scale",
    ]
    assert [cell for cell in lines[4].split() if cell == "-"] == [
        "-"
    ] * 5  # benchmark, minus, effect, interval, published
    assert (
        len({len(line[: line.index(word)]) for line, word in zip(lines[2:5], ("verdict", "supp", "open"), strict=True)})
        == 1
    )


def test_show_prints_a_study_in_its_own_unit(place):
    assert run("show", "other").stdout.split("\n")[3].split()[-6:] == ["−0.5", "−1.0", "to", "0.0", "-", "open"]


def test_show_without_a_name_counts_the_verdicts_of_each_paper(place):
    lines = run("show").stdout.splitlines()
    assert lines[0] == "suite small: 3 verdicts on the claims of 2 papers."
    assert lines[3] == "toy    1 supported at reduced scale, 1 open"


def test_show_explains_one_claim(place):
    text = run("show", "toy:wins").stdout
    assert "wins on digits: A beats B.\n  supported at reduced scale: because" in text
    assert "loses" not in text
    assert "did you mean 'wins'" in fails("show", "toy:win")


def test_show_lists_the_differences_from_the_published_setting(place):
    path = place / "results" / "small" / "verdicts.csv"
    table = pd.read_csv(path)
    assert "Differences" not in run("show", "toy").stdout
    table["differences"] = table["differences"].astype(object)
    table.loc[0, "differences"] = "trained in bf16, published in fp32"
    table.to_csv(path, index=False)
    text = run("show", "toy").stdout
    assert text.endswith(
        "\nDifferences from the published setting:\n  wins on digits: trained in bf16, published in fp32\n"
    )
    text = run("show", "toy:wins").stdout
    assert text.endswith("because\n  differs from the published setting: trained in bf16, published in fp32\n")
    assert "bf16" not in run("show", "toy", "--tsv").stdout
    table.drop(columns="differences").to_csv(path, index=False)  # of an earlier release
    assert "supported at reduced scale" in run("show", "toy").stdout


def test_show_reads_a_release(place):
    shutil.copytree("results/small", "draft/results")
    done = run("show", "toy", "--release", "draft")
    assert done.stdout.startswith("toy in release draft: 1 supported")
    assert "give the folder or the zip archive" in fails("show", "toy", "--release", "nowhere")
    (place / "empty").mkdir()
    assert "has no results/verdicts.csv" in fails("show", "toy", "--release", "empty")


def test_show_names_the_closest_paper_and_missing_results(place, monkeypatch):
    assert fails("show", "toi").startswith("There is no paper 'toi'; did you mean 'toy'? Choose one of toy, other.")
    assert "There is no results/large/verdicts.csv; run `snakemake" in fails("show", "toy", "--suite", "large")
    monkeypatch.chdir(place / "results")
    assert "run this command in a checkout, or give --release" in fails("show", "toy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop(columns="kind"), "has no columns kind"),
        (lambda table: table.assign(published_effect="much"), "published_effect is not a number"),
    ],
)
def test_show_rejects_verdicts_that_it_cannot_read(place, change, words):
    path = place / "results" / "small" / "verdicts.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    assert words in fails("show", "toy")


def test_show_prints_no_control_characters(place):
    path = place / "results" / "small" / "verdicts.csv"
    path.write_text(path.read_text().replace("A beats B.", "A \x1b[31mbeats B."))
    assert "\x1b" not in run("show", "toy:wins").stdout


# --- results check, and the old names


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """A checkout with one good and one damaged result."""
    monkeypatch.chdir(tmp_path)
    assert "no results to check" in fails("results", "check")
    Path("results").mkdir()
    with checked_job([], [Path("results/good"), Path("results/bad")]):
        Path("results/good").write_text("x")
        Path("results/bad").write_text("x")
    assert run("results", "check").stdout == "All 2 results match their checksums.\n"
    Path("results/bad").write_text("y")
    return tmp_path


def test_results_check_names_and_removes_damaged_files(damaged):
    assert "`reprood results check --remove`" in fails("results", "check")
    done = run("results", "check", "--remove")
    assert done.stdout == "results/bad\n1 files removed; run the workflow again.\n"
    assert not Path("results/bad").exists()
    assert Path("results/good").exists()


@pytest.mark.parametrize("arguments", [("intact", "--remove")])
def test_an_old_name_does_the_same_and_says_the_new_one(damaged, arguments):
    done = run(*arguments)
    assert done.stdout == "results/bad\n1 files removed; run the workflow again.\n"
    assert done.stderr == "note: `reprood intact` is now `reprood results check`.\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (("verify", "nowhere"), "release verify", "nowhere does not exist"),
        (("verify", "nowhere", "--spot", "1", "--spot-seed", "2"), "release rerun", "nowhere does not exist"),
        (("compare", "nowhere", "nowhere"), "release compare", "nowhere does not exist"),
        (("publish", "--suite", "nowhere"), "release build", "There is no suite 'nowhere'"),
    ],
)
def test_old_names_are_hidden_and_print_a_note(old, new, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = run(*old)
    assert message in str(done.exception)
    assert done.stderr.startswith(f"note: `reprood {old[0]}` is now")
    assert f"`reprood {new}`" in done.stderr
    assert old[0] not in [words[0] for words, _ in all_commands()]


def test_rerun_needs_a_release():
    assert "nowhere does not exist" in fails("release", "rerun", "nowhere")
    assert run("release", "rerun", "nowhere", "--runs", "0").exit_code == 2
