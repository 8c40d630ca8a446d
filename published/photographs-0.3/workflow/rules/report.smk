# Stage 6, report: figures, tables, notebooks and pages, from stored results.


# One job per benchmark or family draws all of its figures and tables: reading the results costs more than drawing.
for name in plan.places:

    rule:
        name:
            f"draw_{name}"
        input:
            plan.drawing_inputs(name),
        output:
            figures=[
                report(
                    path,
                    caption="../report/figure.rst",
                    category="Figures",
                    subcategory=name,
                    labels={
                        "benchmark": name,
                        "figure": FIGURE_TITLES[Path(path).stem],
                    },
                )
                for path in plan.figure_files(name)
            ],
            pictures=[str(Path(p).with_suffix(".png")) for p in plan.figure_files(name)],
            phones=plan.phone_files(name),
            tables=[
                report(
                    path,
                    caption="../report/table.rst",
                    category="Tables",
                    subcategory=name,
                    labels={"benchmark": name, "table": TABLE_TITLES[Path(path).stem]},
                )
                for path in plan.table_files(name)
            ],
            forms=[
                str(Path(path).with_suffix(ending))
                for path in plan.table_files(name)
                for ending in (".md", ".tex")
            ],
        log:
            f"logs/{plan.results}/draw/{name}.log",
        group:
            grouped("report")
        resources:
            mem_mb=3000,
            runtime=30,
        params:
            code=plan.drawing_code_of(name),
            # A function, because Snakemake would take {...} in the settings of a method for a wildcard.
            settings=lambda wildcards, name=name: plan.drawing_suite(name),
            environment=environment("matplotlib", "numpy"),
            benchmark=name,
            examples=examples_folder,
            out=reports_folder,
        shell:
            "reprood report draw {params.benchmark} --suite {params.settings:q}"
            " --examples {params.examples} --out {params.out} > {log} 2>&1"


rule study_figure:
    input:
        expand("<results>/studies/{{study}}/{name}", name=STUDY_FILES),
    output:
        svg=report(
            "<reports>/figures/studies/{study}.svg",
            caption="../report/figure_study.rst",
            category="Figures",
            subcategory="studies",
            labels={"benchmark": "study", "figure": "{study}"},
        ),
        png="<reports>/figures/studies/{study}.png",
    log:
        "logs/<results>/figures/studies/{study}.log",
    group:
        grouped("report")
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        code=drawing_code,
        settings=drawing_parameters,
        folder=study_folder,
        environment=environment("matplotlib", "numpy"),
    shell:
        "reprood report study-figure {params.settings} --folder {params.folder}"
        " --svg {output.svg} --png {output.png} > {log} 2>&1"


rule plots:
    input:
        "<results>/metrics.csv",
    output:
        "<results>/plots.csv",
    log:
        "logs/<results>/plots.log",
    group:
        grouped("report")
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        code=code("reprood.report.plots"),
    shell:
        "reprood report plots --metrics {input} --out {output} > {log} 2>&1"


rule notebook:
    input:
        notebook=plan.project_file("notebooks/{notebook}.ipynb"),
        metrics="<results>/metrics.parquet",
        verdicts="<results>/verdicts.csv",
        suite="<results>/suite.json",
        predictions=plan.runs("predictions.parquet", "scores.parquet"),
        examples=plan.examples(),
        made=plan.made_files(),
        data=report_data,
    output:
        "<reports>/notebooks/{notebook}.html",
    log:
        "logs/<results>/notebooks/{notebook}.log",
    group:
        grouped("report")
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=code(
            "reprood.report.notebook",
            "reprood.evaluate.table",
            "reprood.audit.verdicts",
            "reprood.data.arrays",
            "reprood.api.scoring",
            "reprood.detectors.msp",
            "reprood.detectors.energy",
            "reprood.detectors.knn",
            "reprood.detectors.mahalanobis",
            *map(style_module, STYLE_NAMES),
        ),
        environment=environment("matplotlib", "nbconvert"),
        results=results_folder,
    shell:
        "reprood report notebook {input.notebook} --results {params.results} --out {output} > {log} 2>&1"


rule pages:
    input:
        page_figures,
        report_data,
        plan.study_files("values.csv"),
        plan.runs(
            "predictions.parquet",
            *EVALUATED_FILES,
            "history.csv",
            "run.json",
            "model.json",
        ),
        verdicts="<results>/verdicts.csv",
        suite="<results>/suite.json",
        papers=plan.papers(),
        defects=plan.project_file("config/defects.yaml"),
        datasets=plan.project_file("config/datasets.yaml"),
        templates=plan.templates(),
    output:
        report(
            "<reports>/index.html",
            caption="../report/page.rst",
            category="Overview",
            labels={"page": "overview"},
        ),
        [
            f"<reports>/{name}"
            for name in plan.pages()
            if name != "index.html" and not name.endswith(".csv")
        ],
        directory("<reports>/evidence"),
        tables=[
            report(
                f"<reports>/{name}",
                caption="../report/table_published.rst",
                category="Tables",
                subcategory="published numbers",
                labels={"paper": Path(name).stem, "table": "published"},
            )
            for name in plan.pages()
            if name.endswith(".csv")
        ],
    log:
        "logs/<results>/pages.log",
    group:
        grouped("report")
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=code(
            "reprood.report.pages",
            *plan.table_modules(),
            *plan.detector_modules(),
            *plan.concluding_modules(),
        ),
        environment=environment("jinja2", "numpy"),
        results=results_folder,
        papers=papers_folder,
        notebooks=" ".join(f"--notebook notebooks/{name}.html" for name in NOTEBOOKS),
        out=reports_folder,
    shell:
        "reprood report pages --suite {input.suite} --papers {params.papers} --results {params.results}"
        " --defects {input.defects} --datasets {input.datasets}"
        " {params.notebooks}"
        " --out {params.out} > {log} 2>&1"
