# Stage 2, train: one run = benchmark x method x seed.


rule train:
    input:
        # Not the linter's report: a new OOD set would re-train everything, and `ancient` would hide all other changes
        # of a training while that report is outdated (Snakemake does not check jobs downstream of one that runs).
        # The linter runs before trainings because of its priority, and nothing that it rejects is evaluated.
        train_data,
    output:
        expand("runs/{{benchmark}}/{{method}}/{{seed}}/{name}", name=MODEL_FILES),
    log:
        "logs/train/{benchmark}/{method}/{seed}.log",
    wildcard_constraints:
        benchmark=plan.other_benchmarks,
        method=plan.trained_methods,
    threads: 1
    resources:
        gpu=plan.gpus(),
        mem_mb=3000,
        runtime=1440,
    params:
        code=train_code,
        settings=train_parameters,
        environment=run_environment,
    shell:
        "reprood train --settings {params.settings:q} --data data/benchmarks/{wildcards.benchmark}"
        " --code {params.code} --threads {threads}"
        " --out runs/{wildcards.benchmark}/{wildcards.method}/{wildcards.seed} > {log} 2>&1"
