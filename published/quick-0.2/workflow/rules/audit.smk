# Stage 5, audit: every published claim that the suite's runs can speak to, judged on the stored predictions.


rule audit:
    input:
        plan.runs("predictions.parquet", "metrics.csv", "model.json"),
        studies=plan.study_files("values.csv"),
        papers=plan.papers(),
    output:
        report(
            "results/verdicts.csv",
            caption="../report/verdicts.rst",
            category="Verdicts",
            labels={"table": "verdicts"},
        ),
    log:
        "logs/audit.log",
    group:
        grouped("report")
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        code=code("reprood.audit.verdicts"),
        settings=suite_parameters,
        environment=environment("numpy", "scipy"),
    shell:
        "reprood audit --suite {params.settings:q} --papers config/papers --runs runs"
        " --out {output} > {log} 2>&1"
