"""Names of files that several stages share."""

MODEL_FILES = ("model.safetensors", "model.json", "history.csv", "run.json")  # of a trained run
EVALUATED_FILES = ("scores.parquet", "metrics.csv")  # what the evaluate stage writes for a run
