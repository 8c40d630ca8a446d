"""A folder of results with a known truth, in the form that the predict and evaluate stages write."""

from pathlib import Path

import numpy as np
from stored_run import write_run

from reprood.config.suite import Suite
from reprood.core.files import write_json
from reprood.data.arrays import save_split
from reprood.detectors.msp import msp
from reprood.evaluate.table import evaluate_run

SUITE = {
    "title": "Fabricated <b>suite</b>",
    "note": "No model was trained.",
    "scale": "reduced",
    "seeds": [0, 1, 2],
    "precision": "fp32",
    "benchmarks": {
        "toy": {
            "title": "Toy",
            "preparation": {"size": 8, "channels": 1},
            "train": {"dataset": "d", "split": "train"},
            "validation": {"dataset": "d", "split": "validation"},
            "test": {"dataset": "d", "split": "test"},
            "ood": {
                "near_set": {"dataset": "e", "split": "test", "shift": "near"},
                "noise_set": {"dataset": "f", "split": "test", "shift": "noise"},
            },
            "gate": {"accuracy": 0.3},
        }
    },
    "methods": {
        "erm": {"use": "erm", "label": "Cross-entropy"},
        "good": {"use": "cutmix", "label": "Good & better"},
        "same": {"use": "cutmix", "label": "Same"},
        "broken": {"use": "cutmix", "label": "Broken"},
    },
    "runs": [{"benchmark": "toy", "methods": ["erm", "good", "same", "broken"]}],
}
# error rate in percent, and how far ID scores lie above OOD scores
TRUTH = {"erm": (20.0, 0.5), "good": (8.0, 1.5), "same": (20.0, 0.5), "broken": (90.0, 0.0)}
COUNT = 600


def suite(**changes) -> Suite:
    return Suite.model_validate({**SUITE, **changes})


def predictions(folder: Path, method: str, seed: int, benchmark: str = "toy", shift: float = 0.0) -> None:
    """Samples whose difficulty is shared by all methods, so that methods are paired; `shift` moves ID scores up."""
    error, gap = TRUTH[method]
    gap += shift
    hard, own = (
        np.random.default_rng([7, *benchmark.removeprefix("toy").encode()]),
        np.random.default_rng([seed, *method.encode()]),
    )
    columns: dict[str, list] = {
        "split": [],
        "row": [],
        "label": [],
        "prediction": [],
        "label_rank": [],
        "score_msp": [],
    }
    columns["score_own"], columns["logits"] = [], []
    for split, label in (("validation", 0), ("test", 0), ("near_set", -1), ("noise_set", -1)):
        difficulty = hard.random(COUNT)
        wrong = difficulty < error / 100 + own.normal(0, 0.002)
        score = 0.5 * hard.normal(size=COUNT) + 0.5 * own.normal(size=COUNT) + (gap if label == 0 else 0)
        columns["split"] += [split] * COUNT
        columns["row"] += range(COUNT)
        columns["label"] += [label] * COUNT
        columns["prediction"] += wrong.astype(int).tolist() if label == 0 else [0] * COUNT
        columns["label_rank"] += np.where(wrong, 1, 0).tolist() if label == 0 else [-1] * COUNT
        # Two classes, so the maximum softmax probability is at least one half; the order of the scores is what counts.
        probability = 0.5 + 0.5 / (1 + np.exp(-score))
        logits = np.stack([np.log(probability / (1 - probability)), np.zeros(COUNT)], axis=1).astype(np.float32)
        logits[wrong] = logits[wrong, ::-1]
        columns["score_msp"] += msp(logits).tolist()
        columns["logits"] += logits.tolist()
        columns["score_own"] += (score + (0.5 if label == 0 else 0)).tolist()
    facts = {"benchmark": benchmark, "method": method, "seed": seed, "fitted": {"godin": {"epsilon": 0.01}}}
    write_run(folder, columns, {**facts, "classes": 2, "native": []})


def results(folder: Path, epochs: int = 60, **changes) -> Suite:
    """Runs, data and lint report under `folder`; returns the suite. ID scores rise from member to member."""
    made = suite(**changes)
    places = list(dict.fromkeys(benchmark for benchmark, _, _ in made.jobs()))
    for benchmark, method, seed in made.jobs():
        run = folder / "runs" / benchmark / method / str(seed)
        run.mkdir(parents=True)
        predictions(run, method, seed, benchmark, 0.5 * places.index(benchmark))
        evaluate_run(run, made.benchmarks[benchmark], benchmark, method, seed, run / "metrics.csv")
        write_json(
            run / "model.json",
            {
                "benchmark": benchmark,
                "method": method,
                "seed": seed,
                "use": made.methods[method].use,
                "settings": {"training": {"epochs": epochs, "batch_size": 50}},
                "backbone": {"name": "wrn"},
                "parameters": 1234,
            },
        )
        phases = [{"phase": "train", "seconds": 10.0, "images": 5000, "images_per_second": 500.0, "resumed": 0}]
        facts = {
            "versions": {"torch": "2"},
            "device": "cpu",
            "threads": 1,
            "precision": "fp32",
            "data": {"train": "abc"},
            "code": "c0de",
            "machine": {"system": "Linux x86_64", "processor": "A & B", "cores": 2},
            "model": "0" * 64,
            "finished": "2026-01-02T03:04:05+00:00",
        }
        write_json(run / "run.json", {**facts, "phases": phases})
        history = "phase,epoch,lr,train_loss,validation_error,test_error\n"
        history += "".join(
            f"train,{e + 1},0.1,{2 / (e + 1)},{'' if e % 2 else 30 - e},{'' if e % 2 else 31 - e}\n" for e in range(7)
        )
        (run / "history.csv").write_text(history)
    rng = np.random.default_rng(0)
    for place, split in [(name, split) for name in places for split in made.benchmarks[name].splits()]:
        source = {"kind": "package", "files": [{"from": "a package", "digest_status": "verified"}]}
        meta = {"title": f"<i>{split}</i>", "split": split, "licence": "none", "note": "", "source": source}
        images = rng.integers(0, 256, (COUNT, 8, 8, 1), dtype=np.uint8)
        data = folder / "data" / "benchmarks" / place
        save_split(data / split, images, np.zeros(COUNT), {}, {**meta, "classes": ["a", "b"]})
        write_json(data / "lint.json", {"duplicates": {"train": 0}, "overlaps": {}})
    images = rng.integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "examples.npz", original=images, good=images[::-1])
    return made


def paper(*claims, published=()) -> dict:
    return {
        "id": "toy", "title": "Toy: a paper", "authors": "A", "venue": "V", "year": 2020,
        "summary": "S.", "method": "M.",
        "claims": [{"id": f"c{i}", "statement": "X is better.", **claim} for i, claim in enumerate(claims)],
        "published": list(published),
    }  # fmt: skip
