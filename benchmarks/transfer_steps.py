"""Time and memory of two steps of the paper's transfer studies at true size, and of the test on as many images.

    python benchmarks/transfer_steps.py detection_ssd [--batch 8]

The settings are those of the study in `config/suites/paper.yaml`; images are random photographs of the usual sizes of
Pascal VOC (500 x 375) and MS-COCO (640 x 480), and the classifier is an untrained ResNet-50. Run it in a process of its
own for each study: the largest use of memory is that of the process.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from reprood.engine.device import resolve_device
from reprood.engine.seeds import seeded
from reprood.nets.classifier import Classifier
from reprood.nets.imagenet_resnet import build
from reprood.studies.base import Context, Findings
from reprood.studies.registry import study

ARM = "erm"
OBJECT = (
    "<object><name>dog</name><difficult>0</difficult>"
    "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def photograph(path: Path, width: int, height: int, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)


def write_voc(folder: Path, count: int, rng: np.random.Generator) -> None:
    root = folder / "VOC2007"
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for number in range(count):
        photograph(root / "JPEGImages" / f"{number:06d}.jpg", 500, 375, rng)
        corners = [(x, y, x + 120, y + 100) for x, y in rng.integers(1, 250, (3, 2))]
        objects = "".join(OBJECT.format(*corner) for corner in corners)
        size = "<size><width>500</width><height>375</height></size>"
        (root / "Annotations" / f"{number:06d}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    (root / "ImageSets" / "Main" / "all.txt").write_text("".join(f"{number:06d}\n" for number in range(count)))


def write_coco(folder: Path, count: int, rng: np.random.Generator) -> None:
    words = np.array([f"word{number}" for number in range(9000)])
    for number in range(count):
        photograph(folder / "all" / f"{number}.jpg", 640, 480, rng)
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 640, "height": 480} for number in range(count)]
    rows = [
        {"image_id": n % count, "caption": " ".join(part)} for n, part in enumerate(np.array_split(words, 9000 // 10))
    ]
    (folder / "annotations").mkdir()
    (folder / "annotations" / "captions_all.json").write_text(json.dumps({"images": images, "annotations": rows}))


def settings(name: str, record: dict[str, Any], folder: Path, batch: int) -> dict[str, Any]:
    """Return the study's settings, for two steps of one arm."""
    changed = {**record, "arms": {ARM: ARM}, "threads": 1}
    for key in [key for key in record if key.endswith("training")]:
        changed[key] = {**record[key], "epochs": 1, "batch_size": batch, "warmup_epochs": 0}
    if "voc" in record:
        changed["voc"] = {"folder": str(folder), "train": [[2007, "all"]], "test": [[2007, "all"]]}
        write_voc(folder, 2 * batch, np.random.default_rng(0))
    else:
        changed |= {"coco": {"folder": str(folder), "train": "all", "test": "all"}, "min_count": 1}
        write_coco(folder, 2 * batch, np.random.default_rng(0))
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name under `studies:` in config/suites/paper.yaml")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    suite = yaml.safe_load(Path("config/suites/paper.yaml").read_text(encoding="utf-8"))
    record = suite["studies"][arguments.study]
    device = resolve_device(arguments.device)
    with seeded(0):
        model = Classifier(build(3, depth=50), 1000).to(device).eval()
    described = {"channels": 3, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    with tempfile.TemporaryDirectory() as folder:
        chosen = study(record["use"])
        config = chosen.config(**settings(arguments.study, record["set"], Path(folder) / "data", arguments.batch))
        context = Context(
            arguments.study, (0,), device, models={ARM: {0: model}}, state=Path(folder) / "state",
            records={ARM: {0: described}},
        )  # fmt: skip
        started, cpu = time.perf_counter(), time.process_time()
        found: Findings = chosen.measure(config, context)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{arguments.study}: 2 steps of {arguments.batch} images and the test on {2 * arguments.batch}")
    print(f"  {time.perf_counter() - started:.0f} s ({time.process_time() - cpu:.0f} CPU-s), {memory:.1f} GiB at most")
    if device.type == "cuda":
        print(f"  {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory at most")
    print("  " + ", ".join(f"{row['metric']} {row['value']:.2f}" for row in found.rows if row["arm"] == ARM))


if __name__ == "__main__":
    main()
