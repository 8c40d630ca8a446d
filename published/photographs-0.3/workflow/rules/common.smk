# Shared by all rules: the plan (configuration, suite, catalogue) and the input and parameter functions.
import sys
from pathlib import Path

from reprood.config.folders import plain_name
from reprood.config.selection import nested_values
from reprood.cli.preload import start
from reprood.core.errors import ReproodError
from reprood.core.files import atomic_path
from reprood.images.registry import STYLE_NAMES, style_module
from reprood.pipeline.fingerprint import load_cache
from reprood.core.checksums import checked_job, verify_results
from reprood.report.contents import FIGURE_TITLES, TABLE_TITLES
from reprood.pipeline.plan import (
    EVALUATED_FILES,
    MODEL_FILES,
    PREDICTED_FILES,
    SPLIT_FILES,
    STUDY_FILES,
    Plan,
    code,
    environment,
)
from reprood.pipeline.session import (
    cancel_timers,
    require_readable_records,
    warn_of_future_times,
)

try:
    plan = Plan(
        # Snakemake reads the parts of lists and mappings on its command line as texts.
        {**config, **nested_values(workflow.config_settings.config_args or ())},
        Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1],
        work=Path.cwd(),
    )
    if workflow.is_main_process:
        require_readable_records(Path(".snakemake/metadata"))
        verify_results(Path(), plan.file_folders())
        warn_of_future_times(plan.outputs())
    load_cache(Path("state/fingerprints.json"))
except ReproodError as mistake:
    sys.exit(f"reprood: error: {mistake}")

shell.prefix(plan.shell_prefix())


# A folder of a benchmark or method is its name, with a hash where an experiment differs from the reproduction.
wildcard_constraints:
    dataset="[a-z0-9_]+",
    benchmark="[a-z0-9_]+(~[0-9a-f]{8})?",
    method="[a-z0-9_]+(~[0-9a-f]{8})?",
    split="[a-z0-9_]+",
    seed="[0-9]+",
    study="[a-z0-9_]+",


def grouped(name):
    """Return the group, on clusters only: for a local plan of 10,000 jobs Snakemake takes 30 s to sort groups."""

    def group(wildcards):
        return None if workflow.local_exec else name

    return group


def split_files(folder):
    """Return the four files of a split's folder."""
    return [f"{folder}/{name}" for name in SPLIT_FILES]


def benchmark_name(wildcards):
    return plain_name(wildcards.benchmark)


def method_name(wildcards):
    return plain_name(wildcards.method)


# --- data ---


def dataset_parameters(wildcards):
    return plan.dataset_parameters(wildcards.dataset)


def own_content(wildcards):
    return plan.own_content(wildcards.dataset, wildcards.split)


def split_source(wildcards):
    return split_files(split_source_folder(wildcards))


def split_source_folder(wildcards):
    source = plan.source(benchmark_name(wildcards), wildcards.split)
    return f"data/{source.dataset}/{source.split}"


def split_code(wildcards):
    return plan.split_code(benchmark_name(wildcards), wildcards.split)


def split_parameters(wildcards):
    return plan.split_parameters(benchmark_name(wildcards), wildcards.split)


def benchmark_files(wildcards):
    splits = plan.benchmark(benchmark_name(wildcards)).splits()
    return plan.data_files(wildcards.benchmark, splits)


def lint_parameters(wildcards):
    return plan.lint_parameters(benchmark_name(wildcards))


def corrupted_files(wildcards):
    return plan.data_files(
        wildcards.benchmark, plan.corrupted_sources(benchmark_name(wildcards))
    )


def frost_option(wildcards):
    frost = plan.frost_set(benchmark_name(wildcards))
    return f"--frost data/benchmarks/{wildcards.benchmark}/{frost}" if frost else ""


def corrupted_code(wildcards):
    return plan.corrupted_code(benchmark_name(wildcards))


def corrupted_parameters(wildcards):
    return plan.corrupted_parameters(benchmark_name(wildcards))


# --- train ---


def train_data(wildcards):
    splits = plan.training_splits(benchmark_name(wildcards))
    return plan.data_files(wildcards.benchmark, splits)


def train_code(wildcards):
    return plan.code_of(
        benchmark_name(wildcards), method_name(wildcards), "reprood.train.run"
    )


def train_streamed_code(wildcards):
    return plan.code_of(
        benchmark_name(wildcards), method_name(wildcards), "reprood.train.streamed"
    )


def train_parameters(wildcards):
    return plan.train_parameters(
        benchmark_name(wildcards), method_name(wildcards), int(wildcards.seed)
    )


def papers_folder(wildcards):
    return plan.project_file("config/papers")


def run_environment(wildcards):
    return plan.run_environment(benchmark_name(wildcards), method_name(wildcards))


# --- predict ---


def predict_data(wildcards):
    splits = plan.predicted_splits(benchmark_name(wildcards), method_name(wildcards))
    return plan.data_files(wildcards.benchmark, splits)


def model_file(wildcards, name="model.safetensors"):
    return plan.run_file(
        benchmark_name(wildcards), method_name(wildcards), wildcards.seed, name
    )


def model_description(wildcards):
    return model_file(wildcards, "model.json")


def model_folder(wildcards):
    return str(Path(model_file(wildcards)).parent)


def predict_code(wildcards):
    return plan.code_of(
        benchmark_name(wildcards), method_name(wildcards), "reprood.predict.run"
    )


def predict_parameters(wildcards):
    return plan.predict_parameters(benchmark_name(wildcards), method_name(wildcards))


def example_folder(wildcards):
    first = plan.first_member(wildcards.benchmark)
    return f"data/benchmarks/{plan.folders.trained(first)}"


def example_data(wildcards):
    first = plan.first_member(wildcards.benchmark)
    auxiliary = plan.benchmark(first).auxiliary
    return plan.data_files(plan.folders.trained(first), ["train", *auxiliary])


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


def study_environment(wildcards):
    return plan.study_environment(wildcards.study)


def study_folder(wildcards):
    return f"{plan.results}/studies/{wildcards.study}"


# --- evaluate, audit ---


def write_suite(path, record, log):
    with checked_job([], [Path(path)]):
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(f"{record}\n", encoding="utf-8")
    Path(log).touch()


def suite_parameters(wildcards):
    return plan.suite_parameters()


# --- report ---


def results_folder(wildcards):
    return plan.results


def studies_folder(wildcards):
    return f"{plan.results}/studies"


def examples_folder(wildcards):
    return f"{plan.results}/examples"


def reports_folder(wildcards):
    return plan.reports


NOTEBOOKS = ("explore", "anatomy", "gallery", "own_network")


def report_targets():
    return [
        *(f"{plan.reports}/{name}" for name in plan.pages()),
        *page_figures(None),
        *(path.replace(".svg", ".png") for path in page_figures(None)),
        *plan.table_files(),
        *(f"{plan.reports}/notebooks/{notebook}.html" for notebook in NOTEBOOKS),
        f"{plan.results}/plots.csv",
    ]


def report_data(wildcards):
    return [
        f"{plan.data_folder(name)}/{file}"
        for name in plan.benchmarks
        for file in (
            *(f"{split}/meta.json" for split in plan.benchmark(name).splits()),
            "lint.json",
        )
    ]


def page_figures(wildcards):
    return plan.figure_files()


def drawing_code(wildcards):
    return plan.drawing_code(wildcards.study)


def drawing_parameters(wildcards):
    return plan.drawing_parameters(wildcards.study)
