"""Every bad input gets one sentence and a failure status; nothing is executed, nothing is written outside."""

import pytest
from hostile_cases import CASES
from hostile_harness import Case, judge


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
@pytest.mark.timeout(60)
def test_a_bad_input_gets_one_sentence(case: Case, tmp_path):
    judge(case, tmp_path)
