"""The jobs that take over what was trained elsewhere: outputs, or weights (`use: external`)."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from reprood.config.external import ENDINGS, OF_WEIGHTS, condition_limits, read_external, run_path
from reprood.core.files import canonical_json
from reprood.core.registry import is_path, module_name
from reprood.pipeline.definitions import stored_outputs
from reprood.pipeline.fingerprint import code_hash
from reprood.pipeline.layout import Layout
from reprood.pipeline.outputs import MODEL_FILES, PREDICTED_FILES


class GivenRuns(Layout):
    """A suite with the parameters of the jobs that take over given outputs or weights."""

    def external_jobs(self) -> list[tuple[str, str, int]]:
        """Return the runs whose outputs or weights are given."""
        return [job for job in self.jobs if self.is_external(job[1])]

    @cached_property
    def trained_methods(self) -> str:
        """Pattern of the folders of methods that are trained here, for the rule `train`."""
        return _others(method for _, method, _ in self.external_jobs())

    @cached_property
    def predicted_methods(self) -> str:
        """Pattern of the folders of methods whose networks are run here, for the rule `predict`."""
        return _others(method for _, method, _ in self.external_jobs() if not self.has_weights(method))

    def external_settings(self, benchmark: str, method: str, seed: int) -> dict[str, Any]:
        """Return where the outputs of a run are, and what they must hold; or where its weights are."""
        record = self.benchmark(benchmark)
        external = read_external(self.arm(method).set, method)
        path = str(run_path(external, benchmark, record, method, seed))
        run = {"benchmark": benchmark, "method": method, "seed": seed}
        if external.weights:
            network = external.model_dump(mode="json", exclude={"folder", "precision", "parameters"})
            return {**run, "external": network | {"weights": path}, "splits": ["train", "validation", "test"]}
        made = self.made_splits(benchmark)
        outputs = external.model_dump(mode="json", exclude={"weights", *OF_WEIGHTS})
        return {
            **run,
            "external": outputs | {"folder": path},
            "splits": [name for name in self.predicted_splits(benchmark, method) if name not in made],
            "conditions": condition_limits(record),
            "features": self.stores_features(benchmark),
            "passes": sorted(stored_outputs(record)["passes"]),
            "maps": "segmentation" in record.evaluations,
            "boxes": "localisation" in record.evaluations,
        }

    def external_parameters(self, benchmark: str, method: str, seed: int) -> str:
        """Return `external_settings` as text."""
        return canonical_json(self.external_settings(benchmark, method, seed))

    def external_entries(self, method: str) -> tuple[str, ...]:
        """Return the entries of the fingerprint of the job that takes over given outputs or weights."""
        if not self.has_weights(method):
            return ("reprood.predict.external",)
        return "reprood.train.given", *self.given_network(method)

    def given_network(self, method: str) -> tuple[str, ...]:
        """Return the modules of the package, or the user's file, that build the network of given weights."""
        kind, _, name = str(self.arm(method).set.get("network", "")).partition(",")[0].rpartition(":")
        return (module_name("nets", name),) if kind == "reprood" else (kind,) if is_path(kind) else ()

    def external_code(self, method: str) -> str:
        """Return the fingerprint of the job that takes over given outputs or weights."""
        return code_hash(*self.external_entries(method))

    def external_inputs(self, benchmark: str, method: str, seed: int) -> list[str]:
        """Return the given files that exist, and the prepared splits that give their order or shape."""
        settings = self.external_settings(benchmark, method, seed)
        if self.has_weights(method):
            given = [Path(settings["external"]["weights"])]
        else:
            names = [*settings["splits"], *settings["conditions"], "head"]
            given = [Path(settings["external"]["folder"]) / f"{name}{ending}" for name in names for ending in ENDINGS]
        splits = dict.fromkeys(["train", *settings["splits"]])
        return [*self.split_files(benchmark, splits), *(str(path) for path in given if (self.root / path).is_file())]

    def external_outputs(self, benchmark: str, method: str, seed: int) -> list[str]:
        """Return the files of a run whose outputs are given: those of a trained one, without the weights.

        With given weights these are the files of the train stage.
        """
        if self.has_weights(method):
            return [self.run_file(benchmark, method, seed, name) for name in MODEL_FILES]
        return [self.run_file(benchmark, method, seed, name) for name in (*MODEL_FILES[1:], *PREDICTED_FILES)]


def _others(methods: Iterable[str]) -> str:
    """Return the pattern of the folders of all methods but some."""
    given = sorted(set(methods))
    others = f"(?!(?:{'|'.join(given)})(?:~[0-9a-f]{{8}})?/)" if given else ""
    return f"{others}[a-z0-9_]+(?:~[0-9a-f]{{8}})?"
