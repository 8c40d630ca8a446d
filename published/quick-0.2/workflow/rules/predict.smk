# Stage 3, predict: every test split of a run in one job; what is written is the evidence for all that follows.


rule predict:
    input:
        predict_data,
        model="runs/{benchmark}/{method}/{seed}/model.safetensors",
        description="runs/{benchmark}/{method}/{seed}/model.json",
    output:
        "runs/{benchmark}/{method}/{seed}/predictions.parquet",
    log:
        "logs/predict/{benchmark}/{method}/{seed}.log",
    group:
        grouped("score")
    threads: 1
    resources:
        gpu=plan.gpus(),
        mem_mb=3000,
        runtime=120,
    params:
        code=predict_code,
        settings=predict_parameters,
        environment=environment("torch", "numpy"),
    shell:
        "reprood predict --settings {params.settings:q} --data data/benchmarks/{wildcards.benchmark}"
        " --run runs/{wildcards.benchmark}/{wildcards.method}/{wildcards.seed}"
        " --threads {threads} --out {output} > {log} 2>&1"


rule examples:
    input:
        example_data,
    output:
        "runs/{benchmark}/examples.npz",
    log:
        "logs/predict/{benchmark}/examples.log",
    group:
        grouped("data")
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        code=example_code,
        settings=example_records,
        environment=environment("torch", "numpy"),
    shell:
        "reprood examples --settings {params.settings:q} --data data/benchmarks/{wildcards.benchmark}"
        " --out {output} > {log} 2>&1"


rule study:
    input:
        study_inputs,
    output:
        expand("results/studies/{{study}}/{name}", name=STUDY_FILES),
    log:
        "logs/studies/{study}.log",
    threads: 1
    resources:
        gpu=plan.gpus(),
        mem_mb=3000,
        runtime=600,
    params:
        code=study_code,
        settings=study_parameters,
        environment=environment("torch", "numpy"),
    shell:
        "reprood study --settings {params.settings:q} --code {params.code} --threads {threads}"
        " --out results/studies/{wildcards.study} > {log} 2>&1"
