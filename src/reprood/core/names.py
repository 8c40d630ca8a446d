"""Names of files that several stages share."""

MODEL_FILES = ("model.safetensors", "model.json", "history.csv", "run.json")  # of a trained run
