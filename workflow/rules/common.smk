# Shared by all rules: the plan (configuration, suite, catalogue) and the functions that answer for wildcards.
import sys
from pathlib import Path

from reprood.core.errors import ReproodError
from reprood.images.registry import STYLE_NAMES, style_module
from reprood.pipeline.fingerprint import load_cache
from reprood.core.checksums import verify_results
from reprood.pipeline.plan import (
    MODEL_FILES,
    SPLIT_FILES,
    STUDY_FILES,
    Plan,
    code,
    environment,
)

try:
    plan = Plan(config, Path(workflow.basedir))
    if workflow.is_main_process:
        verify_results(Path(), plan.folders())
    load_cache(Path("state/fingerprints.json"))
except ReproodError as mistake:
    sys.exit(f"reprood: error: {mistake}")

shell.prefix(plan.shell_prefix())


wildcard_constraints:
    dataset="[a-z0-9_]+",
    benchmark="[a-z0-9_]+",
    method="[a-z0-9_]+",
    split="[a-z0-9_]+",
    seed="[0-9]+",
    study="[a-z0-9_]+",


def grouped(name):
    """The group, on clusters only: Snakemake takes 30 s to sort those of 10,000 jobs for a local plan."""

    def group(wildcards):
        return None if workflow.local_exec else name

    return group


def split_files(folder):
    """The four files of a split's folder."""
    return [f"{folder}/{name}" for name in SPLIT_FILES]


# --- data ---


def dataset_parameters(wildcards):
    return plan.dataset_parameters(wildcards.dataset)


def split_source(wildcards):
    source = plan.source(wildcards.benchmark, wildcards.split)
    return split_files(f"data/{source.dataset}/{source.split}")


def split_source_folder(wildcards):
    source = plan.source(wildcards.benchmark, wildcards.split)
    return f"data/{source.dataset}/{source.split}"


def split_code(wildcards):
    return plan.split_code(wildcards.benchmark, wildcards.split)


def split_parameters(wildcards):
    return plan.split_parameters(wildcards.benchmark, wildcards.split)


def benchmark_files(wildcards):
    return plan.data_files(
        wildcards.benchmark, plan.benchmark(wildcards.benchmark).splits()
    )


def lint_parameters(wildcards):
    return plan.lint_parameters(wildcards.benchmark)


def test_files(wildcards):
    return plan.data_files(wildcards.benchmark, ["test"])


def corrupted_code(wildcards):
    return plan.corrupted_code(wildcards.benchmark)


def corrupted_parameters(wildcards):
    return plan.corrupted_parameters(wildcards.benchmark)


# --- train ---


def train_data(wildcards):
    splits = [
        "train",
        "validation",
        "test",
        *plan.benchmark(wildcards.benchmark).auxiliary,
    ]
    return plan.data_files(wildcards.benchmark, splits)


def train_code(wildcards):
    return plan.code_of(wildcards.benchmark, wildcards.method, "reprood.train.run")


def train_parameters(wildcards):
    return plan.train_parameters(
        wildcards.benchmark, wildcards.method, int(wildcards.seed)
    )


# --- predict ---


def predict_data(wildcards):
    return plan.data_files(
        wildcards.benchmark,
        plan.predicted_splits(wildcards.benchmark, wildcards.method),
    )


def predict_code(wildcards):
    return plan.code_of(wildcards.benchmark, wildcards.method, "reprood.predict.run")


def predict_parameters(wildcards):
    return plan.predict_parameters(wildcards.benchmark, wildcards.method)


def example_data(wildcards):
    return plan.data_files(wildcards.benchmark, ["train"])


def example_code(wildcards):
    return plan.example_code(wildcards.benchmark)


def example_records(wildcards):
    return plan.example_records(wildcards.benchmark)


def study_inputs(wildcards):
    return plan.study_inputs(wildcards.study)


def study_code(wildcards):
    return plan.study_code(wildcards.study)


def study_parameters(wildcards):
    return plan.study_parameters(wildcards.study)


# --- evaluate ---


def summary_options(wildcards):
    parts = [f"--part {path}" for path in plan.summaries()]
    return " ".join(parts + [f"--baseline {pair}" for pair in plan.baselines()])


def evaluate_parameters(wildcards):
    return plan.benchmark_parameters(wildcards.benchmark)


# --- audit ---


def suite_parameters(wildcards):
    return plan.suite_parameters()


# --- report ---


NOTEBOOKS = ("explore", "anatomy", "gallery")


def report_targets():
    return [
        *(f"reports/{name}" for name in plan.pages()),
        *page_figures(None),
        *(path.replace(".svg", ".png") for path in page_figures(None)),
        *plan.table_files(),
        *expand("reports/notebooks/{notebook}.html", notebook=NOTEBOOKS),
        "results/plots.csv",
    ]


def report_data(wildcards):
    files = [
        f"data/benchmarks/{name}/{split}/meta.json"
        for name in plan.benchmarks
        for split in plan.benchmark(name).splits()
    ]
    return files + [f"data/benchmarks/{name}/lint.json" for name in plan.benchmarks]


def page_figures(wildcards):
    return plan.figure_files()


def drawing_code(wildcards):
    return plan.drawing_code(wildcards.study)


def drawing_parameters(wildcards):
    return plan.drawing_parameters(wildcards.study)
