"""reprood: data -> train -> predict -> evaluate -> audit -> report.

snakemake --cores all                         the default suite
snakemake --cores all --config suite=smoke    another one
snakemake --cores all publish                 a release of the results, in published/
snakemake -n                                  what would run
"""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


# Only used with --software-deployment-method apptainer; built by the Dockerfile here.
container: "docker://reprood/reprood:0.1.0"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        plan.runs(*MODEL_FILES, "predictions.parquet", "metrics.csv"),
        "results/metrics.parquet",
        "results/verdicts.csv",
        report_targets(),


# After `all`, whose files it takes.
include: "workflow/rules/publish.smk"
