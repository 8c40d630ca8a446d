# Stage 6, report: figures, tables, notebook and the page, from stored results.


rule figure:
    input:
        figure_inputs,
    output:
        svg=report(
            "reports/figures/{benchmark}/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"benchmark": "{benchmark}", "figure": "{figure}"},
        ),
        png="reports/figures/{benchmark}/{figure}.png",
    log:
        "logs/report/figures/{benchmark}/{figure}.log",
    params:
        code=code("reprood.report.figures"),
        settings=suite_parameters,
        environment=environment("matplotlib", "numpy"),
    shell:
        "reprood report figure {wildcards.figure} {wildcards.benchmark} --suite {params.settings:q}"
        " --svg {output.svg} --png {output.png} > {log} 2>&1"


ruleorder: study_figure > figure


rule study_figure:
    input:
        expand("results/studies/{{study}}/{name}", name=STUDY_FILES),
    output:
        svg=report(
            "reports/figures/studies/{study}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"benchmark": "study", "figure": "{study}"},
        ),
        png="reports/figures/studies/{study}.png",
    log:
        "logs/report/figures/studies/{study}.log",
    params:
        code=drawing_code,
        settings=drawing_parameters,
        environment=environment("matplotlib", "numpy"),
    shell:
        "reprood report study-figure {params.settings} --folder results/studies/{wildcards.study}"
        " --svg {output.svg} --png {output.png} > {log} 2>&1"


rule tables:
    input:
        table_inputs,
    output:
        csv=report(
            "reports/tables/{benchmark}/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"benchmark": "{benchmark}", "table": "{table}"},
        ),
        md="reports/tables/{benchmark}/{table}.md",
        tex="reports/tables/{benchmark}/{table}.tex",
    log:
        "logs/report/tables/{benchmark}/{table}.log",
    params:
        code=code("reprood.report.tables"),
        settings=suite_parameters,
        environment=environment("numpy"),
    shell:
        "reprood report table {wildcards.table} {wildcards.benchmark} --suite {params.settings:q}"
        " --stem reports/tables/{wildcards.benchmark}/{wildcards.table} > {log} 2>&1"


rule plots:
    input:
        "results/metrics.csv",
    output:
        "results/plots.csv",
    log:
        "logs/report/plots.log",
    params:
        code=code("reprood.report.plots"),
    shell:
        "reprood report plots --metrics {input} --out {output} > {log} 2>&1"


rule notebook:
    input:
        notebook="notebooks/{notebook}.ipynb",
        metrics="results/metrics.parquet",
        predictions=plan.runs("predictions.parquet"),
        examples=plan.examples(),
        made=plan.made_files(),
        data=report_data,
    output:
        "reports/notebooks/{notebook}.html",
    log:
        "logs/report/notebooks/{notebook}.log",
    params:
        code=code(
            "reprood.report.notebook",
            "reprood.evaluate.table",
            "reprood.data.arrays",
            "reprood.data.styles",
        ),
        environment=environment("matplotlib", "nbconvert"),
    shell:
        "reprood report notebook {input.notebook} --out {output} > {log} 2>&1"


rule page:
    input:
        page_figures,
        report_data,
        plan.study_files("values.csv"),
        plan.runs(
            "predictions.parquet",
            "metrics.csv",
            "history.csv",
            "run.json",
            "model.json",
        ),
        verdicts="results/verdicts.csv",
        papers=plan.papers(),
        template=PAGE_TEMPLATE,
    output:
        report(
            "reports/index.html",
            caption="../report/page.rst",
            category="Overview",
            labels={"page": "report"},
        ),
    log:
        "logs/report/page.log",
    params:
        code=code("reprood.report.page"),
        settings=suite_parameters,
        environment=environment("jinja2", "numpy"),
    shell:
        "reprood report page --suite {params.settings:q} --papers config/papers --verdicts {input.verdicts}"
        " --notebook notebooks/explore.html --notebook notebooks/gallery.html --out {output} > {log} 2>&1"
