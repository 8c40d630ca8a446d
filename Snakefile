# So that `snakemake --cores all` works here and loads profiles/default; the workflow is in workflow/Snakefile.
include: "workflow/Snakefile"


# An included file does not set the default target.
rule default:
    default_target: True
    input:
        rules.all.input,
