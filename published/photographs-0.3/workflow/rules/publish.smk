# Stage 7, publish, only on request (`snakemake --cores all publish`): a release of a finished suite.

# Of a selection it holds the selected part; `reprood release build` refuses changed settings.


rule publish:
    input:
        rules.all.input,
        map(plan.project_file, ("LICENSE", "CITATION.cff", "requirements.lock")),
    output:
        f"published/{plan.settings.release}/SHA256SUMS",
    log:
        "logs/<results>/publish.log",
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code("reprood.publish.build", *plan.table_modules()),
        settings=suite_parameters,
        suite=plan.settings.suite,
        release=plan.settings.release,
        sign=plan.signing_option(),
        datasets=plan.datasets_option(),
        selection=plan.selection_option(),
    shell:
        "reprood release build --suite {params.suite:q} --release {params.release:q} {params.sign}"
        " {params.datasets} {params.selection} > {log} 2>&1"
