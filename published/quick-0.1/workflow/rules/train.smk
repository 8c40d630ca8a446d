# Stage 2, train: one run = benchmark x method x seed.


rule train:
    input:
        train_data,
        # A benchmark that the linter refuses is not trained on; a new OOD set re-trains nothing.
        lint=ancient("data/benchmarks/{benchmark}/lint.json"),
    output:
        expand("runs/{{benchmark}}/{{method}}/{{seed}}/{name}", name=MODEL_FILES),
    log:
        "logs/train/{benchmark}/{method}/{seed}.log",
    threads: 1
    resources:
        gpu=plan.gpus(),
        mem_mb=3000,
        runtime=1440,
    params:
        code=train_code,
        settings=train_parameters,
        environment=environment("torch", "numpy"),
    shell:
        "reprood train --settings {params.settings:q} --data data/benchmarks/{wildcards.benchmark}"
        " --code {params.code} --threads {threads}"
        " --out runs/{wildcards.benchmark}/{wildcards.method}/{wildcards.seed} > {log} 2>&1"
