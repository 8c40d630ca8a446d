# Stage 4, evaluate: metrics of each run, then all of them in one table.


rule evaluate:
    input:
        predictions="runs/{benchmark}/{method}/{seed}/predictions.parquet",
        lint="data/benchmarks/{benchmark}/lint.json",
    output:
        "runs/{benchmark}/{method}/{seed}/metrics.csv",
    log:
        "logs/evaluate/{benchmark}/{method}/{seed}.log",
    group:
        grouped("score")
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code("reprood.evaluate.table"),
        settings=evaluate_parameters,
        method=method_name,
        environment=environment("numpy"),
    shell:
        "reprood evaluate run --spec {params.settings:q} --predictions {input.predictions}"
        " --method {params.method} --seed {wildcards.seed} --out {output} > {log} 2>&1"


rule collect_metrics:
    input:
        plan.runs("metrics.csv"),
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
        parts=summary_options,
    shell:
        "reprood evaluate collect {input} --parquet {output.parquet} --csv {output.csv}"
        " --summary {output.summary} {params.parts} > {log} 2>&1"
