"""What main claims read of each run."""

from pathlib import Path

from reprood.audit.needs import Use, compared
from reprood.audit.papers import load_papers
from reprood.config.load import load_suite

ROOT = Path(__file__).parents[2]


def test_a_claim_reads_the_replicates_that_all_its_sides_have():
    suite = load_suite("evidence", ROOT).with_replicates(
        {"brick_defects": dict.fromkeys(["cutpaste_3way", "cutpaste"], 7)}
    )
    found = compared(load_papers([ROOT / "config/papers/cutpaste.yaml"]), suite)
    first, later = (found["brick_defects", "cutpaste_3way", seed] for seed in (0, 6))
    assert first.metrics == {"auroc", "pixel_auroc"}  # of maps, against the model of windows, which has five replicates
    assert later.metrics == {"auroc"}
    assert later.scores == {"gaussian", "proxy"}
    assert found["brick_defects", "cutpaste", 6].metrics == {"auroc"}
    assert ("brick_defects", "cutpaste_scar", 6) not in found
    longer = suite.with_replicates({"brick_defects": {"cutpaste_patch": 9}})
    alone = compared(load_papers([ROOT / "config/papers/cutpaste.yaml"]), longer)["brick_defects", "cutpaste_patch", 8]
    assert alone == Use(), "no other side has this replicate"


def test_exploratory_claims_are_left_out():
    suite, papers = load_suite("evidence", ROOT), load_papers([ROOT / "config/papers/cnc.yaml"])
    exploratory = {claim.metric for claim in papers[0].claims if claim.exploratory}
    main = {claim.metric for claim in papers[0].claims if not claim.exploratory and not claim.study}
    read = set().union(*(use.metrics for use in compared(papers, suite).values()))
    assert "ece15" in exploratory - main
    assert read <= main
