# Stage 3, predict: the outputs of a run on every test split, in one job; all later stages are computed from them.


rule predict:
    input:
        predict_data,
        model=model_file,
        description=model_description,
    output:
        expand("runs/{{benchmark}}/{{method}}/{{seed}}/{name}", name=PREDICTED_FILES),
    log:
        "logs/predict/{benchmark}/{method}/{seed}.log",
    wildcard_constraints:
        method=plan.predicted_methods,
    priority: 1  # as soon as its training has ended, so that progress shows and a stop loses nothing
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
        run=model_folder,
        environment=run_environment,
    shell:
        "reprood predict --settings {params.settings:q} --data data/benchmarks/{wildcards.benchmark}"
        " --run {params.run} --threads {threads}"
        " --out runs/{wildcards.benchmark}/{wildcards.method}/{wildcards.seed} > {log} 2>&1"


# Outputs that were computed elsewhere take the place of training and prediction, and weights that of training.
for job in plan.external_jobs():

    rule:
        name:
            f"adopt_{'_'.join(map(str, job))}"
        input:
            plan.external_inputs(*job),
        output:
            plan.external_outputs(*job),
        log:
            f"logs/adopt/{'/'.join(map(str, job))}.log",
        group:
            grouped("score")
        resources:
            mem_mb=3000,
            runtime=30,
        params:
            code=plan.external_code(job[1]),
            settings=plan.external_parameters(*job),
            environment=(
                plan.run_environment(job[0], job[1])
                if plan.has_weights(job[1])
                else environment("numpy")
            ),
            data=plan.data_folder(job[0]),
            run=str(Path(plan.run_file(*job, "run.json")).parent),
            out=plan.run_folder(*job),
        shell:
            "reprood adopt --settings {params.settings:q} --data {params.data} --code {params.code}"
            " --run {params.run} --out {params.out} > {log} 2>&1"


rule examples:
    input:
        example_data,
    output:
        "<results>/examples/{benchmark}.npz",
    log:
        "logs/<results>/examples/{benchmark}.log",
    group:
        grouped("data")
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        code=example_code,
        settings=example_records,
        data=example_folder,
        environment=environment("torch", "numpy"),
    shell:
        "reprood examples --settings {params.settings:q} --data {params.data} --out {output}"
        " > {log} 2>&1"


rule study:
    input:
        study_inputs,
    output:
        expand("<results>/studies/{{study}}/{name}", name=STUDY_FILES),
    log:
        "logs/<results>/studies/{study}.log",
    # A study without models takes a minute on one core: early, beside trainings, and not alone at the end.
    priority: 5
    threads: 1
    resources:
        gpu=plan.gpus(),
        mem_mb=3000,
        runtime=600,
    params:
        code=study_code,
        settings=study_parameters,
        folder=study_folder,
        environment=study_environment,
    shell:
        "reprood study --settings {params.settings:q} --code {params.code} --threads {threads}"
        " --out {params.folder} > {log} 2>&1"
