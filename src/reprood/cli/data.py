"""Commands of the data stage."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprood.cli.options import Config, ConfigFile, Out, configuration, parse, parse_record, unknown_name, validated
from reprood.core.checksums import checked_job
from reprood.core.errors import ReproodError
from reprood.core.process import MIRRORS, OFFLINE, pin_threads
from reprood.pipeline.outputs import SPLIT_FILES, of_splits, within

if TYPE_CHECKING:
    from reprood.data.download import Progress

data_app = typer.Typer(no_args_is_help=True, help="Prepare data sets and benchmarks as memory-mapped arrays.")

Mirrors = Annotated[str, typer.Option("--mirrors", envvar=MIRRORS, help="Folders or URLs to try first, one per line.")]


def show_progress(name: str) -> "Progress":
    """Return a callback that prints a line for every tenth of a download, at most every two seconds."""
    start = last = time.monotonic()
    first = step = -1  # bytes that were there at the start (a download may resume), last printed tenth

    def report(done: int, total: int | None) -> None:
        nonlocal first, step, last
        first = done if first < 0 else first
        now, reached = time.monotonic(), done * 10 // total if total else done >> 24
        if done != total and (reached == step or now - last < 2):
            return
        step, last = reached, now
        speed = (done - first) / max(now - start, 1e-3)
        line = f"{name}: {done / 1e6:,.1f} MB" + (f" of {total / 1e6:,.1f} MB" if total else "")
        if speed > 0:
            line += f", {speed / 1e6:.1f} MB/s" + (f", {(total - done) / speed:.0f} s left" if total else "")
        print(line, file=sys.stderr, flush=True)

    return report


@data_app.command("croissant")
def data_croissant(
    name: Annotated[str, typer.Argument(help="A data set of the catalogue.")],
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Print the description of a data set in the form of Croissant (JSON-LD).

    Example: reprood data croissant fashion_mnist > fashion_mnist.json
    """
    import json

    from reprood.data.catalogue import load_catalogue
    from reprood.publish.croissant import describe_entry

    settings, _ = configuration("", config, configfile)
    catalogue = load_catalogue([Path("config/datasets.yaml")], settings.get("datasets") or {})
    if name not in catalogue:
        raise unknown_name("data set", name, sorted(catalogue))
    print(json.dumps(describe_entry(name, catalogue[name]), indent=2, ensure_ascii=False))


@data_app.command("dataset")
def data_dataset(
    name: Annotated[str, typer.Argument(help="The data set.")],
    split: Annotated[str, typer.Argument(help="The split: train, test, ...")],
    entry: Annotated[str, typer.Option(help="The catalogue entry as JSON; default: that of the configuration.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder; default: data/NAME/SPLIT.")] = None,
    mirrors: Mirrors = "",
    offline: Annotated[bool, typer.Option(envvar=OFFLINE, help="Do not use the official URLs.")] = False,
    downloads: Annotated[Path, typer.Option(help="Folder that keeps downloaded files.")] = Path("state/downloads"),
    config: Config = None,
    configfile: ConfigFile = None,
) -> None:
    """Fetch one split of a data set and write it as arrays.

    Example: reprood data dataset fashion_mnist test
    """
    pin_threads(1)
    from reprood.data.catalogue import load_catalogue, parse_entry
    from reprood.data.dataset import prepare_dataset
    from reprood.data.entries import is_streamed
    from reprood.data.index_reader import index_dataset
    from reprood.data.notes import equal_images
    from reprood.data.sources import fetch_split

    if entry:
        catalogue = {name: parse_entry(name, parse(entry, "--entry"))}
    else:
        own = configuration("", config, configfile)[0].get("datasets") or {}
        catalogue = load_catalogue([Path("config/datasets.yaml")], own)
    if name not in catalogue:
        raise unknown_name("data set", name, sorted(catalogue))
    folder = out or Path("data") / name / split
    places = [line for line in mirrors.split("\n") if line]
    if split in catalogue[name].splits and is_streamed(catalogue[name], split):

        def report(done: int, total: int) -> None:
            print(f"{name}/{split}: {done:,} of {total:,} files", file=sys.stderr, flush=True)

        with checked_job([], within(folder, SPLIT_FILES)):
            for note in index_dataset(name, catalogue[name], split, folder, places, report):
                print(f"{name}/{split}: {note}", file=sys.stderr, flush=True)
            print(f"index of {name}/{split} written to {folder}", file=sys.stderr, flush=True)
        return
    with checked_job([], within(folder, SPLIT_FILES)):
        files = fetch_split(
            name,
            catalogue[name],
            split,
            mirrors=places,
            downloads=downloads,
            offline=offline,
            progress=show_progress,
        )
        for file in files:
            print(f"{name}: {file.record['name']} from {file.record['from']}", file=sys.stderr, flush=True)
        for note in prepare_dataset(name, catalogue[name], split, files, folder):
            print(f"{name}/{split}: {note}", file=sys.stderr, flush=True)
        for own in (Path(catalogue[name].files[file].path) for file in catalogue[name].splits[split].files):
            copies = equal_images(own.expanduser()) if own.expanduser().is_dir() and own.name else ""
            if copies:
                print(f"{name}/{split}: {copies}", file=sys.stderr, flush=True)
        print(f"{name}/{split} written to {folder}", file=sys.stderr, flush=True)


@data_app.command("split")
def data_split(
    spec: Annotated[str, typer.Option(help="Rows, preparation and role as JSON.")],
    source: Annotated[Path, typer.Option(help="Folder of the data set's split.")],
    out: Out,
) -> None:
    """Select and prepare one split of a benchmark.

    Example: snakemake -n -p --until split
    """
    pin_threads(1)
    from reprood.config.names import check_style
    from reprood.config.records import LabelNoise, Preparation, Source
    from reprood.core.files import read_json
    from reprood.data.benchmark import prepare_split
    from reprood.data.image_index import holds_index
    from reprood.data.streamed import prepare_streamed

    record = parse_record(spec, "--spec", "source", "preparation", "role", "label_noise")
    noise = record["label_noise"]
    rows = validated(Source, record["source"], "--spec: source")
    check_style(rows, "--spec: source")
    preparation = validated(Preparation, record["preparation"], "--spec: preparation")
    with checked_job(within(source, SPLIT_FILES), within(out, SPLIT_FILES)):
        if holds_index(read_json(source / "meta.json")):
            prepare_streamed(rows, preparation, source, out, record["role"])
            return
        prepare_split(
            rows,
            preparation,
            source,
            out,
            role=record["role"],
            noise=None if noise is None else validated(LabelNoise, noise, "--spec: label_noise"),
        )


@data_app.command("lint")
def data_lint(
    spec: Annotated[str, typer.Option(help="The benchmark as JSON.")],
    folder: Annotated[Path, typer.Option(help="Folder of the benchmark's splits.")],
    out: Out,
) -> None:
    """Reject a benchmark whose splits overlap, contain duplicates or were prepared differently.

    Example: snakemake -n -p --until lint_benchmark
    """
    pin_threads(1)
    from reprood.config.benchmark import Benchmark
    from reprood.core.files import write_json
    from reprood.data.arrays import load_split
    from reprood.data.image_index import holds_index
    from reprood.data.lint import lint_benchmark
    from reprood.data.notes import copies_in, known_names

    record = parse_record(spec, "--spec", "name")
    record.pop("name")
    classifies = bool(record.pop("classifies", False))
    benchmark = validated(Benchmark, record, "--spec")
    splits = benchmark.splits()
    with checked_job(of_splits(folder, splits), [out]):
        loaded = {name: load_split(folder / name) for name in splits}
        report = lint_benchmark(loaded, benchmark, classifies=classifies)
        outside = {name: split for name, split in loaded.items() if benchmark.role(name) in ("ood", "auxiliary")}
        shared = known_names(loaded["train"].meta.get("classes") or [], outside, Path("data"))
        if shared:
            report["notes"] = [*report.get("notes", []), *shared]
        write_json(out, report)
        images = sum(report["images"].values())
        lines = [f"{len(splits)} splits with {images:,} images compared", *report.get("notes", [])]
        pixels = {name: split for name, split in loaded.items() if not holds_index(split.meta)}
        lines += [copies_in(name, pixels[name]) for name, n in report["duplicates"].items() if n and name in pixels]
        for line in lines:
            print(f"{out}: {line}", file=sys.stderr, flush=True)


@data_app.command("corrupt")
def data_corrupt(
    spec: Annotated[str, typer.Option(help="Corruptions, severities and number of images as JSON.")],
    test: Annotated[Path, typer.Option(help="Folder of the benchmark's test split.")],
    out: Out,
    frost: Annotated[Path | None, typer.Option(help="Folder of the split with photographs of frost.")] = None,
) -> None:
    """Create the corrupted copies of a benchmark's test split (imports torch).

    Example: snakemake -n -p --until corrupted
    """
    pin_threads(1)
    from reprood.config.names import check_corruptions
    from reprood.config.perturbations import Corruptions
    from reprood.data.corrupt import make_corrupted

    options = validated(Corruptions, parse(spec, "--spec"), "--spec")
    check_corruptions(options, "--spec")
    if options.frost_set and frost is None:
        raise ReproodError(
            "The corruption 'frost' needs --frost, the folder of its photographs; or set 'frost' to 'drawn' in --spec."
        )
    with checked_job(within(test, SPLIT_FILES), within(out, SPLIT_FILES)):
        make_corrupted(
            test,
            out,
            names=options.names,
            severities=options.severities,
            strengths=options.strengths,
            limit=options.limit,
            frost=frost,
            progress=lambda name: print(f"{out}: {name}", file=sys.stderr, flush=True),
        )
