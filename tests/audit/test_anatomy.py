"""The notebook `anatomy` recomputes verdicts; its own assertions compare them with verdicts.csv."""

import json
from pathlib import Path

import fabricate
import matplotlib.pyplot as plt
import pytest
import yaml

from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "anatomy.ipynb"


def claim(name: str, first: str, second: str, **more) -> dict:
    sides = [{"method": first, "score": "msp"}, {"method": second, "score": "msp"}]
    record = {"id": name, "statement": "S.", "kind": "difference", "metric": "auroc", "split": "near_set"}
    return record | {"better": "higher", "sides": sides, "gate": False, "note": "Toy."} | more


@pytest.mark.parametrize("relevant", [0.0, 0.02])
def test_the_notebook_computes_the_corrected_p_values_of_the_audit(tmp_path, monkeypatch, relevant):
    record = fabricate.paper(claim("a", "good", "erm", relevant=relevant), claim("b", "same", "erm", relevant=relevant))
    record["arms"] = {name: {"means": name} for name in ("erm", "good", "same")}
    results, papers = tmp_path / "results" / "quick", tmp_path / "config" / "papers"
    results.mkdir(parents=True, exist_ok=True)
    papers.mkdir(parents=True)
    (papers / f"{record['id']}.yaml").write_text(yaml.safe_dump(record))
    suite = fabricate.results(tmp_path)
    (results / "suite.json").write_text(suite.model_dump_json())
    table = audit(suite, [Paper.model_validate(record)], tmp_path, results / "studies", results / "verdicts.csv")
    assert table["p_smaller"].notna().sum() == (2 if relevant else 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", plt.close)
    scope: dict = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
    assert scope["together"]["adjusted"].tolist() == pytest.approx(table["p_holm"].tolist())
