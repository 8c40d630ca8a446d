"""What the tests of the workflow look at in the suite `smoke`, and in Snakemake's plans."""

METHODS = ("erm", "cutmix", "godin_c")
SEEDS = (0, 1)


def evaluated(plan):
    """Benchmarks that a plan evaluates."""
    return {rule.removeprefix("evaluate_") for rule in plan if rule.startswith("evaluate_")}
