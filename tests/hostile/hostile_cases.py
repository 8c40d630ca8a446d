"""All cases."""

import hostile_crates
import hostile_data
import hostile_entries
import hostile_papers
import hostile_records
import hostile_results
import hostile_settings

CASES = [
    *hostile_data.CASES,
    *hostile_entries.CASES,
    *hostile_settings.CASES,
    *hostile_papers.CASES,
    *hostile_records.CASES,
    *hostile_results.CASES,
    *hostile_crates.CASES,
]
KINDS = tuple(dict.fromkeys(case.kind for case in CASES))
