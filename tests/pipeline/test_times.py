"""What jobs took, read from their logs."""

import subprocess
import sys
from pathlib import Path

from reprood.pipeline.times import read, table


def test_tables(tmp_path: Path) -> None:
    logs = {
        "train/b/erm/0.log": "epoch 1\ntook 10.00 s, 9.50 CPU-s\n",
        "train/b/erm/1.log": "took 12.00 s, 11.50 CPU-s\n",
        "predict/b/erm/0.log": "took 3.00 s, 2.00 CPU-s\n",
        "audit.log": "took 1.50 s, 1.25 CPU-s\n",
        "train/b/cutmix/0.log": "killed in the middle\n",
        "empty.log": "",
    }
    for name, text in logs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert sum(cpu for _, _, cpu in read(tmp_path)) == 24.25
    lines = table(tmp_path)
    assert "train            2      22.0      21.0" in lines
    assert any(line.split() == ["b", "erm", "2", "21.0", "2.0"] for line in lines)
    assert not any("cutmix" in line for line in lines)


def test_a_job_tells_what_it_took(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "reprood"), "audit", "--suite", "{", "--papers", "p"]
    command += ["--studies", "s", "--out", "o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not valid JSON" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("took ")
    quiet = subprocess.run([command[0], "--help"], capture_output=True, text=True, check=False)
    assert "took" not in quiet.stderr
