"""What a suite found: sentences, the forest of main claims, the index of the search box."""

import json
import math
from itertools import pairwise

import fabricate
import pandas as pd
import pytest

from reprood.audit.papers import Paper
from reprood.report.claims import ENDS
from reprood.report.navigation import search_index, with_contents
from reprood.report.summary import decided_share, forest_rows, paper_sentences, positions, result_of, spoken, ticks

CLAIMS = [
    {"kind": "difference", "metric": "auroc", "split": "near_set", "better": "higher",
     "sides": [{"method": "good", "score": "msp"}, {"method": "erm", "score": "msp"}]},
    {"kind": "non_inferior", "metric": "top1_error", "better": "lower", "margin": 1.0,
     "sides": [{"method": "good"}, {"method": "erm"}]},
    {"kind": "difference", "metric": "area", "study": "areas", "better": "higher",
     "sides": [{"method": "good"}, {"method": "erm"}]},
]  # fmt: skip
PAPER = Paper.model_validate({**fabricate.paper(*CLAIMS), "arms": {name: {"means": name} for name in ("good", "erm")}})


def row(claim: str, verdict: str, effect: float, **more) -> dict:
    found = next(one for one in PAPER.claims if one.id == claim)
    return {
        "paper": "toy", "claim": claim, "statement": found.statement, "exploratory": False, "kind": found.kind,
        "metric": found.metric, "better": found.better, "margin": found.margin, "verdict": verdict, "effect": effect,
        "low": effect - 0.02, "high": effect + 0.02, "p": 0.01, "published_effect": math.nan, "comparable": False,
        "look": 1, "looks": 4, "reason": "r", **more,
    }  # fmt: skip


VERDICTS = pd.DataFrame(
    [
        row("c0", "open", 0.1, published_effect=0.07),
        row("c1", "supported at reduced scale", -0.5, low=-1.5, high=0.5),
        row("c2", "not run", math.nan),
        row("c0", "contradicted", -0.4, exploratory=True),
    ]
)


def test_the_result_counts_main_claims_only():
    assert result_of(VERDICTS) == (
        "Of 3 main claims, 1 is supported at reduced scale, 1 open, 1 not run. "
        "Of 2 measured effects, 2 point as claimed, those with a margin on the claimed side of it."
    )
    assert decided_share(VERDICTS) == pytest.approx(1 / 3)


def test_a_paper_says_what_holds_how_strongly_and_what_prevented_decisions():
    first, own, clearest, open_, absent = paper_sentences(PAPER, VERDICTS)
    assert own.startswith("Open: \u201c")
    assert clearest.startswith("Supported at reduced scale: \u201c")
    assert first == result_of(VERDICTS)
    assert (
        "−0.5 points of top-1 error [−1.5, +0.5], lower is better; claimed to be below +1.0, a margin of ours; "
        in clearest
    )
    assert open_ == "One is open at look 1 of 4: it is not significant after correction."
    assert absent == "One is not run in this suite."
    assert paper_sentences(PAPER, VERDICTS, "snakemake")[4] == "One is not run in this selection; snakemake runs it."
    undecided = VERDICTS[VERDICTS["claim"] == "c0"].head(1)
    _, example, _ = paper_sentences(PAPER, undecided)
    assert example.startswith("Open: ")
    assert example.endswith("higher is better; published +7.0 points, in another setting.")
    opposite = undecided.assign(effect=-0.1, low=-0.3, high=0.1, reason="given up: even 40 replicates")
    _, example, open_ = paper_sentences(PAPER, opposite)
    assert "higher is better; the estimate is not as claimed;" in example
    assert open_ == (
        "One is open at look 1 of 4: it has an interval that includes zero. "
        "It is given up: more replicates would probably not decide it."
    )
    two = pd.concat(
        [
            undecided.assign(look=3),
            undecided.assign(
                effect=math.nan,
                reason="on X, A classifies 43.0 % (seed \
13) of the test images correctly, below the accuracy gate of 60 %, so detection is not judged",
            ),
        ]
    )
    assert paper_sentences(PAPER, two)[-1] == (
        "Two are open at looks 1 and 3 of 4: one is not significant after correction, one is not judged, because a "
        "training failed the accuracy gate."
    )
    both = paper_sentences(PAPER, pd.concat([undecided, undecided]))[-1]
    assert both == "Two are open at look 1 of 4: both are not significant after correction."
    against = pd.concat([VERDICTS, VERDICTS.tail(1).assign(exploratory=False, claim="c1", metric="top1_error")])
    assert paper_sentences(PAPER, against)[1].startswith("Contradicted: ")


def test_effects_on_weak_baselines_are_not_counted_as_claimed():
    gated = VERDICTS.assign(verdict=["baseline not representative", *VERDICTS["verdict"][1:]])
    assert result_of(gated).endswith(
        "Of 1 measured effect with a representative baseline, 1 points as claimed, those with a margin on the claimed "
        "side of it."
    )
    opposite = gated.assign(effect=[0.1, 2.5, math.nan, -0.4])
    assert "none point as claimed" in result_of(opposite)


def test_a_side_at_chance_is_named_next_to_the_effect():
    table = VERDICTS.assign(below_chance=["", "good (g)", "", ""])
    assert (
        "below +1.0, a margin of ours; one side is no better than chance, so the size means little;"
        in (paper_sentences(PAPER, table)[2])
    )
    assert "chance" not in paper_sentences(PAPER, VERDICTS.assign(below_chance=math.nan))[1]


def test_a_margin_counts_and_a_control_of_ours_is_no_claim_of_the_paper():
    worse = VERDICTS.assign(effect=[0.1, 0.5, math.nan, -0.4])
    assert "Of 2 measured effects, 2 point as claimed, those with a margin on the claimed side of it." in result_of(
        worse
    )
    record = PAPER.model_dump()
    record["claims"][1]["ours"] = True
    paper = Paper.model_validate(record)
    assert paper_sentences(paper, VERDICTS)[2].startswith("Supported at reduced scale (a control of ours): ")
    several = pd.concat([VERDICTS, VERDICTS.tail(1).assign(exploratory=False, claim="c0")])
    assert "Of 4 main claims (3 of the paper, 1 control of ours), 1 is supported" in result_of(several, [paper])
    kinds = "Of the 2 decided, 1 is a difference that the paper states, 1 is a control of ours."
    assert kinds in result_of(several, [paper])
    bounded = several.assign(kind=several["kind"].mask(several["verdict"] == "contradicted", "non_inferior"))
    kinds = "Of the 2 decided, 1 is a claim that something costs at most a margin of ours, 1 is a control of ours."
    assert kinds in result_of(bounded, [paper])
    assert [row["ours"] for row in forest_rows([paper], VERDICTS)[0]] == [True, False]


def test_the_forest_draws_support_to_the_right():
    rows, end = forest_rows([PAPER], VERDICTS)
    assert [(one["claim"], one["verdict"]) for one in rows] == [("c1", "supported at reduced scale"), ("c0", "open")]
    lower, higher = rows
    assert (lower["low"], lower["effect"], lower["high"]) == (-0.5, 0.5, 1.5)  # a smaller error supports the claim
    assert lower["claimed"] == (-1.0, math.inf)
    assert higher["effect"] == pytest.approx(10)
    assert higher["published"] == pytest.approx(7)
    assert higher["page"] == "papers/toy.html#claim-c0"
    assert end == 20.0
    drawn = positions(higher, 5.0)
    assert (drawn["low"], drawn["width"], drawn["published"], drawn["cut_low"], drawn["cut_high"]) == (
        100, 0, 100, False, True
    )  # fmt: skip
    near = positions({**higher, "effect": 0.4, "low": -0.1, "high": 0.9, "published": None}, 40.0)
    assert (near["effect"], near["low"], near["width"]) == (55, 47.5, 10)  # a narrow interval is seen to be one
    assert spoken(higher) == "effect +10.0 points, interval +8.0 to +12.0; published +7.0"


@pytest.mark.parametrize("end", ENDS)
def test_every_axis_has_room_for_the_numbers_of_its_ticks(end):
    found = [tick["at"] for tick in ticks(end)]
    assert (found[0], found[-1]) == (0, 100)
    assert all(b - a >= 7.5 for a, b in pairwise(found))


def test_long_pages_list_their_headings():
    page = "<!-- contents -->" + "".join(f"<h2>Part {place // 2}</h2>" for place in range(4))
    whole = with_contents(page)
    assert '<h2 id="part-0">' in whole
    assert '<h2 id="part-0-2">' in whole
    assert whole.count('<li><a href="#part-') == 4
    assert "nav" not in with_contents("<!-- contents --><h2>One</h2>")


def test_the_search_index_has_claims_methods_and_pages():
    judged = [{"paper": PAPER, "claims": [{"anchor": "claim-c0", "statement": "X </b>.", "verdict": "open"}]}]
    benchmarks = [{"name": "toy", "record": fabricate.suite().benchmarks["toy"], "methods": ["Cross-entropy"]}]
    text = search_index(judged, benchmarks, [("data.html", "Data")])
    entries = json.loads(text.removeprefix("window.reproodIndex = ").rstrip(";\n"))
    assert [entry["kind"] for entry in entries] == ["page", "paper", "claim", "benchmark", "method"]
    assert entries[2]["page"] == "papers/toy.html#claim-c0"
