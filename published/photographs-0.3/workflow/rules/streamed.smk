# Large images that stay in a folder of the user: stages 1 (the index of a data set) and 2 (training).


rule index:
    output:
        split_files("data/{dataset}/{split}"),
    log:
        "logs/data/{dataset}/{split}.log",
    wildcard_constraints:
        dataset=plan.streamed_datasets,
    priority: 10
    group:
        grouped("data")
    resources:
        mem_mb=4000,
        runtime=600,
    params:
        code=code("reprood.data.index_reader"),
        settings=dataset_parameters,
        own=own_content,
    shell:
        "reprood data dataset {wildcards.dataset} {wildcards.split} --entry {params.settings:q}"
        " --out data/{wildcards.dataset}/{wildcards.split} > {log} 2>&1"


rule train_streamed:
    input:
        train_data,
    output:
        expand("runs/{{benchmark}}/{{method}}/{{seed}}/{name}", name=MODEL_FILES),
    log:
        "logs/train/{benchmark}/{method}/{seed}.log",
    wildcard_constraints:
        benchmark=plan.streamed_benchmarks,
        method=plan.trained_methods,
    threads: 16  # one process that reads images for each: as many as the machine has for a GPU
    resources:
        gpu=plan.gpus(),
        mem_mb=32000,
        runtime=20160,
    params:
        code=train_streamed_code,
        settings=train_parameters,
        environment=run_environment,
    shell:
        "reprood train --settings {params.settings:q} --data data/benchmarks/{wildcards.benchmark}"
        " --code {params.code} --threads {threads}"
        " --out runs/{wildcards.benchmark}/{wildcards.method}/{wildcards.seed} > {log} 2>&1"
