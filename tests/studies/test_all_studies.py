"""Every study's record agrees with its file and has a figure; studies and figures are found without torch."""

import subprocess
import sys

import pytest
from pydantic import BaseModel

from reprood.core.errors import ReproodError
from reprood.report.studies.registry import drawing, drawings
from reprood.studies.registry import studies, study


@pytest.mark.parametrize("name", studies())
def test_a_record_agrees_with_its_file(name) -> None:
    record = study(name)
    assert record.name == name
    assert issubclass(record.config, BaseModel)
    assert record.config.model_config["frozen"]
    assert callable(record.measure)


def test_every_study_has_a_figure() -> None:
    assert drawings() == studies()
    assert all(callable(drawing(name)) for name in drawings())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ReproodError, match="no 'toy' in reprood.studies; known: biamat_gate"):
        study("toy")
    with pytest.raises(ReproodError, match="no 'toy' in reprood.report.studies; known: biamat_gate"):
        drawing("toy")


def test_registries_import_neither_torch_nor_matplotlib() -> None:
    program = (
        "import sys; from reprood.methods.registry import methods, fits_on_train; "
        "from reprood.nets.registry import backbones; from reprood.studies.registry import studies; "
        "from reprood.report.studies.registry import drawings; "
        "assert methods() and backbones() and studies() and drawings() and fits_on_train('csi'); "
        "assert not fits_on_train('erm'); "
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
