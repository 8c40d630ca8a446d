"""Model cards in the form of the Hugging Face hub: a YAML head and a text, from the records of a run."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

TASK = {"type": "image-classification", "name": "Image classification and out-of-distribution detection"}
SHOWN = ("top1_error", "auroc", "fpr95_id_positive", "fpr95_ood_positive")


def model_card(
    model: Mapping[str, Any], run: Mapping[str, Any], metrics: pd.DataFrame, *, title: str, release: str
) -> str:
    """Return the card of a trained network.

    Parameters
    ----------
    model, run : mapping
        model.json and run.json.
    metrics : DataFrame
        metrics.csv of the run.
    title : str
        Of the benchmark.
    release : str
        Name of the release.
    """
    name = f"{model['benchmark']}/{model['method']}/{model['seed']}"
    means = metrics[metrics["split"].isin(["test", "mean_natural"]) & metrics["metric"].isin(SHOWN)]
    results = [
        {
            "type": row["metric"],
            "name": f"{row['metric']} ({row['score'] or 'prediction'})",
            "value": float(row["value"]),
        }
        for row in means.fillna({"score": ""}).to_dict("records")
    ]
    head = {
        "license": "apache-2.0",
        "library_name": "reprood",
        "tags": ["out-of-distribution-detection", str(model["use"])],
        "model-index": [
            {"name": name, "results": [{"task": TASK, "dataset": {"name": title, "type": "other"}, "metrics": results}]}
        ],
    }
    seconds = sum(phase["seconds"] for phase in run["phases"])
    lines = [
        f"# {name}",
        "",
        f"Method `{model['use']}`, backbone `{model['backbone']}`, {model['parameters']:,} parameters, on {title}. "
        f"Part of the release {release} of reprood, in which its numbers can be recomputed.",
        "",
        f"- Input: {model['channels']} x {model['size']} x {model['size']}, in [0, 1], normalised with mean "
        f"{model['mean']} and standard deviation {model['std']}.",
        f"- Classes: {', '.join(map(str, model['class_names'])) or model['classes']}.",
        f"- Training: {seconds:.0f} s on {run['device']}, {run['precision']}, seed {model['seed']}."
        if run.get("trained_here", True)
        else "- Not trained here: the weights were given.",
        f"- SHA-256 of `model.safetensors`: `{run['model']}`.",
        "",
        "```python",
        "from pathlib import Path",
        "from reprood.train.run import load_model",
        "",
        'model, *_ = load_model(Path("."), "cpu")',
        "```",
    ]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n" + "\n".join(lines) + "\n"
