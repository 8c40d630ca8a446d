# Stage 4, evaluate: detectors and metrics of each run, then the metrics of all runs in one table.


# One job per benchmark: importing the libraries takes longer than evaluating a run. The job reuses what is unchanged of
# its last results, which it keeps under state/ because Snakemake removes the outputs of a job before it runs.
for name in plan.benchmarks:

    rule:
        name:
            f"evaluate_{name}"
        input:
            plan.evaluated_files(name),
            lint=f"{plan.data_folder(name)}/lint.json",
        output:
            plan.runs(*EVALUATED_FILES, benchmark=name),
        log:
            f"logs/evaluate/{name}.log",
        group:
            grouped("report")
        resources:
            mem_mb=3000,
            runtime=60,
        params:
            code=plan.evaluate_code(name),
            settings=plan.evaluate_parameters(name),
            environment=environment("numpy"),
        shell:
            "reprood evaluate runs --spec {params.settings:q} --code {params.code:q} > {log} 2>&1"


# A file, because the record of a large suite is longer than an argument of a command may be.
rule suite_record:
    output:
        "<results>/suite.json",
    log:
        "logs/<results>/suite.log",
    group:
        grouped("report")
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=suite_parameters,
    run:
        write_suite(output[0], params.settings, log[0])


rule collect_metrics:
    input:
        plan.runs("metrics.csv"),
        suite="<results>/suite.json",
    output:
        parquet="<results>/metrics.parquet",
        csv="<results>/metrics.csv",
        summary="<results>/summary.json",
        parts=plan.summaries(),
    log:
        "logs/<results>/collect.log",
    group:
        grouped("report")
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code("reprood.evaluate.collect"),
        results=results_folder,
    shell:
        "reprood evaluate collect --suite {input.suite} --out {params.results} > {log} 2>&1"
