# Stage 1, data: data sets as memory-mapped arrays, and the prepared splits of benchmarks.


rule dataset:
    output:
        split_files("data/{dataset}/{split}"),
    log:
        "logs/data/{dataset}/{split}.log",
    wildcard_constraints:
        dataset=plan.other_datasets,
    priority: 10
    group:
        grouped("data")
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        code=code("reprood.data.dataset"),
        settings=dataset_parameters,
        own=own_content,
    shell:
        "reprood data dataset {wildcards.dataset} {wildcards.split} --entry {params.settings:q}"
        " --out data/{wildcards.dataset}/{wildcards.split} > {log} 2>&1"


rule split:
    input:
        split_source,
    output:
        split_files("data/benchmarks/{benchmark}/{split}"),
    log:
        "logs/data/benchmarks/{benchmark}/{split}.log",
    wildcard_constraints:
        split="(?!corrupted/)[a-z0-9_]+",  # created from the test split by the next rule
    priority: 10
    group:
        grouped("data")
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=split_code,
        settings=split_parameters,
        source=split_source_folder,
    shell:
        "reprood data split --spec {params.settings:q} --source {params.source}"
        " --out data/benchmarks/{wildcards.benchmark}/{wildcards.split} > {log} 2>&1"


rule corrupted:
    input:
        corrupted_files,
    output:
        split_files("data/benchmarks/{benchmark}/corrupted"),
    log:
        "logs/data/benchmarks/{benchmark}/corrupted.log",
    group:
        grouped("data")
    threads: 1
    resources:
        mem_mb=3000,
        runtime=240,
    params:
        code=corrupted_code,
        settings=corrupted_parameters,
        environment=environment("torch", "numpy", "pillow"),
        frost=frost_option,
    shell:
        "reprood data corrupt --spec {params.settings:q} --test data/benchmarks/{wildcards.benchmark}/test"
        " {params.frost} --out data/benchmarks/{wildcards.benchmark}/corrupted > {log} 2>&1"


rule lint_benchmark:
    input:
        benchmark_files,
    output:
        "data/benchmarks/{benchmark}/lint.json",
    log:
        "logs/data/benchmarks/{benchmark}/lint.log",
    priority: 10
    group:
        grouped("data")
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=code("reprood.data.lint"),
        settings=lint_parameters,
    shell:
        "reprood data lint --spec {params.settings:q} --folder data/benchmarks/{wildcards.benchmark}"
        " --out {output} > {log} 2>&1"
