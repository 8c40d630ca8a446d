"""Audit of the speed options: does each agree with fp32 eager on a pilot, and does a run's record say which were on?

The pilot: scikit-learn's real handwritten digits, 0 to 7 known, 8 and 9 outliers; a WRN-10-1; some seeds. Measured are:

- The same weights: how far logits and OOD scores are from those of fp32 eager.
- Complete trainings: means over seeds of loss, test accuracy and AUROC against fp32 eager, with the spread over seeds.
  (Seed by seed they differ as two seeds do: a training amplifies the last digit.)
- Single steps of the methods that are sensitive to the precision (`precision_steps`): an attack, adversarial training,
  TRADES, a GAN, HSIC and a contrastive loss.

It ends with status 1 when something is outside of its stated tolerance. Compilation is for CUDA only; it is audited
where there is one. `reprood predict` always runs in fp32, whatever the training was, and suites at the papers' scale
train in fp32.

Run: python benchmarks/precision.py [--repeats SEEDS] [--epochs N] [--json FILE]
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from measure import machine, options_of, parser_of
from precision_steps import Row, audit
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from reprood.data.arrays import save_split
from reprood.detectors.energy import energy
from reprood.engine.device import autocast
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.evaluate.metrics import detection_metrics
from reprood.images.augment import normalise
from reprood.nets import wrn
from reprood.nets.classifier import Classifier
from reprood.train.run import train_run

KNOWN = 8
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BACKBONE = {"depth": 10, "width": 1, "stem_stride": 2}
RECORDED = ("precision", "channels_last", "compile", "threads", "device", "versions")


@dataclass(frozen=True)
class Option:
    """A speed option and its tolerances.

    Attributes
    ----------
    name : str
    changes : dict
        Of the fp32 eager `Run`.
    logits : float
        Largest difference of a logit with the same weights, as a share of the logits' standard deviation.
    order : float
        Least rank correlation of the OOD scores with the same weights.
    threads, batch : int
        Of torch; images in a forward pass.
    """

    name: str
    changes: dict[str, object]
    logits: float
    order: float
    threads: int = 1
    batch: int = 200


EAGER = Option("fp32 eager", {}, 0.0, 1.0)
OPTIONS = [
    Option("channels last", {"channels_last": True}, 1e-4, 0.9999),
    Option("bf16 autocast", {"precision": "bf16"}, 0.05, 0.99),
    Option(
        "bf16 + channels last (the default where bf16 is fast)",
        {"precision": "bf16", "channels_last": True},
        0.05,
        0.99,
    ),
    Option("two threads", {}, 1e-4, 0.9999, threads=2),
    Option("prediction in batches of 7", {}, 1e-4, 0.9999, batch=7),
]
COMPILED = Option("compiled", {"compile": True}, 1e-3, 0.999)
# Of complete trainings: how far the means over seeds may be from those of fp32 eager; accuracy and AUROC in points.
LOSS, ACCURACY, AUROC = 0.02, 1.0, 2.0
BATCHES = 5  # of single steps; the worst counts


def digits() -> tuple[ImageSet, ImageSet, Tensor]:
    """Return training and test images of the known digits and the outliers, uint8 [N, 1, 28, 28]."""
    data = load_digits()
    large = np.kron(data.images, np.ones((3, 3))) * (255 / 16)
    images = torch.from_numpy(np.pad(large, ((0, 0), (2, 2), (2, 2))).astype(np.uint8))[:, None]
    labels = torch.from_numpy(data.target).long()
    known = (labels < KNOWN).nonzero().squeeze(1)
    train, test = known[: 2 * len(known) // 3], known[2 * len(known) // 3 :]
    return ImageSet(images[train], labels[train]), ImageSet(images[test], labels[test]), images[labels >= KNOWN]


def problem_of(train: ImageSet, test: ImageSet) -> Problem:
    parts = [ImageSet(part.images.to(DEVICE), part.labels.to(DEVICE)) for part in (train, test)]
    return Problem(
        train=parts[0],
        validation=parts[1],
        auxiliary={},
        classes=KNOWN,
        channels=1,
        size=28,
        mean=(0.3,),
        std=(0.35,),
        backbone=lambda: wrn.build(1, **BACKBONE),
    )


def run_of(folder: str, seed: int, option: Option) -> Run:
    eager = Run(
        name=f"pilot/erm/{seed}",
        root_seed=seed,
        state=Path(folder),
        device=DEVICE,
        precision="fp32",
        channels_last=False,
    )
    return replace(eager, **option.changes)  # type: ignore[arg-type]


def trained(problem: Problem, training: Training, seed: int, option: Option) -> tuple[nn.Module, list[float]]:
    """Return a model and the mean loss of each epoch."""
    torch.set_num_threads(option.threads)
    with seeded(seed):
        model = Classifier(problem.backbone(), KNOWN)
    with tempfile.TemporaryDirectory() as folder:
        rows = fit(
            model,
            lambda network, batch: functional.cross_entropy(network(batch.images), batch.labels),
            problem.train,
            training,
            run_of(folder, seed, option),
            problem=problem,
        )
    torch.set_num_threads(1)
    return model, [float(row["train_loss"]) for row in rows]


@torch.no_grad()
def answers(model: nn.Module, images: Tensor, problem: Problem, option: Option) -> Tensor:
    """Return the logits of a set as the option computes them, float32 [N, K]."""
    torch.set_num_threads(option.threads)
    run = run_of("unused", 0, option)
    layout = torch.channels_last if run.channels_last else torch.contiguous_format
    network: Callable[[Tensor], Tensor] = torch.compile(model) if run.compile else model  # type: ignore[assignment]
    parts = []
    for batch in normalise(images.to(DEVICE), problem.mean, problem.std).split(option.batch):
        with autocast(run.precision, DEVICE):
            parts.append(network(batch.contiguous(memory_format=layout)).float())
    torch.set_num_threads(1)
    return torch.cat(parts)


@dataclass(frozen=True)
class Outcome:
    """Of one training: last mean loss; test accuracy and AUROC in percent, predicted in fp32."""

    loss: float
    accuracy: float
    auroc: float


def outcome(model: nn.Module, losses: list[float], test: ImageSet, outliers: Tensor, problem: Problem) -> Outcome:
    known, unknown = (answers(model, images, problem, EAGER) for images in (test.images, outliers))
    right = known.argmax(1).cpu() == test.labels.cpu()
    scores = (energy(part.float().cpu().numpy()) for part in (known, unknown))
    return Outcome(
        losses[-1], 100 * float(right.float().mean()), 100 * detection_metrics(*scores, names=("auroc",))["auroc"]
    )


def recorded(train: ImageSet, test: ImageSet) -> dict[str, object]:
    """Return what run.json of a real training job says about the options, for fp32 and bf16.

    Raises
    ------
    RuntimeError
        When the record is missing or differs from the requested option.
    """
    records: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, part in (("train", train), ("validation", test), ("test", test)):
            images = part.images[:160].permute(0, 2, 3, 1).numpy()
            classes = [str(number) for number in range(KNOWN)]
            meta = {"title": split, "split": split, "classes": classes, "licence": "none", "mean": [0.3], "std": [0.35]}
            save_split(folder / "data" / split, images, part.labels[:160].numpy(), {}, meta)
        for precision in ("fp32", "bf16"):
            settings = {
                "benchmark": "pilot",
                "method": "erm",
                "seed": 0,
                "suite_seed": 0,
                "use": "erm",
                "settings": {"training": {"epochs": 1, "batch_size": 32, "augment": "none"}},
                "backbone": {"name": "wrn", **BACKBONE},
                "precision": precision,
            }
            out = folder / precision
            train_run(settings, data=folder / "data", out=out, state=folder / "state", device=DEVICE.type, threads=1)
            record = json.loads((out / "run.json").read_text(encoding="utf-8"))
            missing = [key for key in RECORDED if key not in record]
            if missing or record["precision"] != precision or record["threads"] != 1:
                raise RuntimeError(f"run.json of a {precision} training has no {missing}, or is wrong: {record}")
            records[precision] = {key: record[key] for key in RECORDED if key != "versions"}
    return records


def show_steps(rows: list[Row]) -> list[str]:
    """Print the rows of single steps, and return the names of those outside of their tolerance."""
    print("\n| step in bf16 | loss, relative | direction of the gradient, cosine | attacked pixels equal | within |")
    print("|---|---:|---:|---:|---|")
    for row in rows:
        cosine = "" if row.cosine is None else f"{row.cosine:.4f}"
        pixels = "" if row.pixels is None else f"{100 * row.pixels:.1f} %"
        print(f"| {row.step} | {row.loss:.1e} | {cosine} | {pixels} | {'yes' if row.within else 'NO'} |")
    return [row.step for row in rows if not row.within]


def main() -> None:
    parser = parser_of(__doc__ or "", repeats=3)
    parser.add_argument("--epochs", type=int, default=15)
    options = options_of(parser)
    train, test, outliers = digits()
    problem = problem_of(train, test)
    training = Training(epochs=options.epochs, batch_size=32, lr=0.05, nesterov=True, weight_decay=5e-4, augment="none")
    seeds = range(options.repeats)
    eager = [trained(problem, training, seed, EAGER) for seed in seeds]
    base = [outcome(model, losses, test, outliers, problem) for model, losses in eager]
    images = torch.cat([test.images, outliers])
    exact = answers(eager[0][0], images, problem, EAGER)
    print(f"\n{machine()}, {DEVICE.type}\n")
    spread = {
        key: max(getattr(one, key) for one in base) - min(getattr(one, key) for one in base) for key in asdict(base[0])
    }
    mean = {key: float(np.mean([getattr(one, key) for one in base])) for key in spread}
    print("fp32 eager: " + ", ".join(f"{key} {mean[key]:.3f} (seeds span {spread[key]:.3f})" for key in spread) + "\n")
    print("| option | logits, same weights | order of scores | loss | accuracy, points | AUROC, points | within |")
    print("|---|---:|---:|---:|---:|---:|---|")
    rows, failed = [], []
    for option in [*OPTIONS, *([COMPILED] if DEVICE.type == "cuda" else [])]:
        logits = answers(eager[0][0], images, problem, option)
        far = float((logits - exact).abs().max() / exact.std())
        order = float(spearmanr(*(energy(part.float().cpu().numpy()) for part in (logits, exact))).statistic)
        row: dict[str, object] = {"option": option.name, "logits": far, "order": order}
        good = far <= option.logits and order >= option.order
        if option.batch == EAGER.batch:  # otherwise nothing of the training changes
            ends = [outcome(*trained(problem, training, seed, option), test, outliers, problem) for seed in seeds]
            gap = {key: float(np.mean([getattr(end, key) for end in ends])) - mean[key] for key in spread}
            row |= gap
            good = good and abs(gap["loss"]) <= LOSS and abs(gap["accuracy"]) <= ACCURACY
            good = good and abs(gap["auroc"]) <= AUROC
        rows.append({**row, "within": good})
        failed += [] if good else [option.name]
        tail = " | ".join(f"{row[key]:+.3f}" if key in row else "" for key in spread)
        print(f"| {option.name} | {far:.1e} | {order:.5f} | {tail} | {'yes' if good else 'NO'} |", flush=True)
    steps = list(audit(problem, eager[0][0], BATCHES))
    failed += show_steps(steps)
    records = recorded(train, test)
    print(f"\nrun.json says: {json.dumps(records)}")
    if options.json is not None:
        content = {"machine": machine(), "eager": mean, "spread": spread, "rows": rows, "recorded": records}
        content["steps"] = [asdict(row) for row in steps]
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if failed:
        sys.exit(f"outside of the tolerance: {', '.join(failed)}")


if __name__ == "__main__":
    main()
