# Stage 5, audit: judge every published claim that the suite can test, from the stored predictions.


rule audit:
    input:
        plan.runs(
            "predictions.parquet",
            *EVALUATED_FILES,
            "model.json",
            "run.json",
            "history.csv",
        ),
        studies=plan.study_files("values.csv"),
        papers=plan.papers(),
        suite="<results>/suite.json",
    output:
        report(
            "<results>/verdicts.csv",
            caption="../report/verdicts.rst",
            category="Verdicts",
            labels={"table": "verdicts"},
        ),
    log:
        "logs/<results>/audit.log",
    group:
        grouped("report")
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        code=code("reprood.audit.verdicts"),
        environment=environment("numpy", "scipy"),
        studies=studies_folder,
        papers=papers_folder,
    shell:
        "reprood audit --suite {input.suite} --papers {params.papers}"
        " --studies {params.studies} --out {output} > {log} 2>&1"
