"""Provenance of the numbers of a benchmark: its runs and their data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprood.audit.recipes import Recipe
from reprood.core.files import sha256_file
from reprood.data.entries import DatasetEntry
from reprood.report.records import ModelRecord, SplitRecord, checked
from reprood.report.results import BenchmarkResults

FROST = "frost_"  # auxiliary sets of photographs that corruptions use, not outliers
PACKAGE = "a package"  # where a file came from, in meta.json
LINKED = ("predictions.parquet", "metrics.csv", "run.json")  # files of a run that its page links to


def runs_of(results: BenchmarkResults) -> list[dict[str, Any]]:
    """Return one record per run: network, device, time, data and files."""
    found = []
    for method in results.methods:
        for seed in results.seeds(method):
            facts = results.facts(method, seed)
            model = checked(results.file(method, seed, "model.json"), ModelRecord)
            stored = results.stored.only(method, [seed])[0].facts
            phases = facts["phases"]
            found.append(
                {
                    "label": results.label(method),
                    "method": method,
                    "seed": seed,
                    "recipe": Recipe(
                        method, model["use"], model["settings"], model["backbone"], facts["precision"], seeds=()
                    ),
                    "network": model["backbone"].get("network") or model["backbone"]["name"],
                    "parameters": model["parameters"],
                    "images": sum(phase["images"] for phase in phases),
                    "device": facts["device"],
                    "machine": "{processor}, {cores} cores, {system}".format(**facts["machine"]),
                    "threads": facts["threads"],
                    "precision": facts["precision"],
                    "seconds": round(sum(phase["seconds"] for phase in phases), 1),
                    "speed": round(sum(p["images"] for p in phases) / max(sum(p["seconds"] for p in phases), 1e-9)),
                    "versions": ", ".join(f"{k} {v}" for k, v in sorted(facts["versions"].items())),
                    "data": facts["data"]["train"][:12],
                    "skipped": "; ".join(f"{k}: {v}" for k, v in stored.get("skipped", {}).items()),
                    "steps": "; ".join(f"{k} {v['epsilon']:g}" for k, v in stored["fitted"].items() if "epsilon" in v),
                    "predictions": sha256_file(results.file(method, seed, "predictions.parquet"))[:12],
                    "files": {name: results.stored.path(method, seed, name) for name in LINKED},
                }
            )  # fmt: skip
    return found


def data_of(results: BenchmarkResults, data: Path) -> list[dict[str, Any]]:
    """Return one record per split: data set, role, source, licence and content hash."""
    found = []
    for split in results.benchmark.splits():
        meta = checked(results.data_path(data, split) / "meta.json", SplitRecord)
        files = meta["source"]["files"]
        kind = "generated here" if not files else ", ".join(sorted({f["from"] for f in files}))
        status = ", ".join(sorted({f["digest_status"] for f in files})) or "generated"
        role = results.benchmark.role(split)
        if role == "ood":
            role = f"OOD, {results.benchmark.ood[split].shift}"
        found.append({**meta, "as": split, "role": role, "where": kind, "status": status})
    return found


def with_packages(rows: list[dict[str, Any]], known: Mapping[str, DatasetEntry]) -> list[dict[str, Any]]:
    """Return the rows of `data_of` with the packages named from which files came."""
    found = []
    for row in rows:
        entry = known.get(row.get("name", ""))
        packages = [one for file in entry.files.values() for one in file.packages] if entry else []
        names = ", ".join(dict.fromkeys(f"{one.name} ({one.kind})" for one in packages))
        where = row["where"].replace(PACKAGE, f"package {names}") if names else row["where"]
        found.append(row | {"where": where})
    return found


def outliers_of(results: BenchmarkResults, method: str) -> str:
    """Say which images next to the training set a method learns from, as its run recorded; a dash for none."""
    settings = checked(results.file(method, results.seeds(method)[0], "model.json"), ModelRecord)["settings"]
    sets = {name: source.dataset for name, source in results.benchmark.auxiliary.items()}
    return outlier_data(settings, sets)


def outlier_data(settings: Mapping[str, Any], sets: Mapping[str, str]) -> str:
    """Say which images next to the training set a method learns from; a dash for none.

    Parameters
    ----------
    settings : mapping
        Of model.json. `outliers` or `auxiliary` names a set, "" the only one, or another kind that the method makes
        from training images; `selection: none` and `outlier_weight: 0` switch it off.
    sets : mapping
        Auxiliary sets of the benchmark -> data set.

    Examples
    --------
    >>> outlier_data({"outliers": ""}, {"outliers": "blobs", "frost_imagenet": "frost"})
    'outliers (blobs)'
    >>> outlier_data({"outliers": "cnc"}, {"outliers": "blobs"})  # the method CnC makes its own
    'made from training images'
    >>> outlier_data({"source": "mixup", "outliers": ""}, {"outliers": "blobs"})
    'made from training images'
    >>> outlier_data({"source": "near"}, {"near": "letters"})
    'near (letters)'
    >>> outlier_data({"alpha": 1.0}, {"outliers": "blobs"})
    '–'
    """
    source = settings.get("source")  # of methods that name a set, or the images that they change into outliers
    if isinstance(source, str) and source in sets:
        return f"{source} ({sets[source]})".replace("_", " ")
    if isinstance(source, str) and source != "auxiliary":
        return "made from training images"
    name = settings.get("outliers", settings.get("auxiliary"))
    if not isinstance(name, str) or settings.get("selection") == "none" or settings.get("outlier_weight") == 0:
        return "–"
    usual = [one for one in sets if not one.startswith(FROST)]
    if name and name not in sets:
        return "made from training images"
    name = name or (usual[0] if len(usual) == 1 else "")
    return f"{name} ({sets[name]})".replace("_", " ") if name else "–"


def machines_of(benchmarks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the number and time of trainings by device, machine, threads, precision and versions."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    keys = ("device", "machine", "threads", "precision", "versions")
    for run in (run for benchmark in benchmarks for run in benchmark["runs"]):
        key = tuple(run[name] for name in keys)
        record = found.setdefault(key, {**dict(zip(keys, key, strict=True)), "count": 0, "seconds": 0.0})
        record["count"] += 1
        record["seconds"] += run["seconds"]
    return list(found.values())


def sources_of(benchmarks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one record per data set and split, with the benchmarks that use it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for benchmark in benchmarks:
        for row in benchmark["sources"]:
            key = row["title"], row["split"]
            kept = {name: row.get(name, "") for name in ("title", "split", "where", "status", "licence", "note")}
            record = found.setdefault(
                key,
                {**kept, "citation": row.get("citation", ""), "origin": row.get("from", row["content"]), "users": []},
            )
            if benchmark["name"] not in record["users"]:
                record["users"].append(benchmark["name"])
    return [found[key] for key in sorted(found)]
