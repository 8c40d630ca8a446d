"""`reprood score`: detection metrics of one's own network on image folders."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprood.cli.options import Device
from reprood.core.errors import ReproodError

if TYPE_CHECKING:
    import pandas as pd

IMAGENET = ("0.485,0.456,0.406", "0.229,0.224,0.225")
SHOWN = ("auroc", "aupr_in", "aupr_out", "fpr95_id_positive", "fpr95_ood_positive", "detection_error")


def score(
    weights: Annotated[Path, typer.Option(help="State dict: .safetensors, .pt or .pth.")],
    network: Annotated[
        str, typer.Option(help="torchvision:NAME, timm:NAME, reprood:NAME or ./file.py:FUNCTION; NAME,key=value.")
    ],
    id: Annotated[Path, typer.Option("--id", help="Folder of in-distribution test images.")],
    ood: Annotated[list[str], typer.Option("--ood", help="NAME=FOLDER or FOLDER of OOD images; may be repeated.")],
    detectors: Annotated[
        str, typer.Option(help="Names, separated by commas; `reprood list detectors`.")
    ] = "msp,maxlogit,energy",
    train: Annotated[
        Path | None, typer.Option(help="Folder of training images by class, for detectors that are fitted.")
    ] = None,
    size: Annotated[
        int, typer.Option(min=0, help="Side of the images after resizing and cropping; 0: unchanged.")
    ] = 224,
    channels: Annotated[int, typer.Option(help="1 (grey) or 3 (RGB).")] = 3,
    mean: Annotated[str, typer.Option(help="Of the normalisation, in [0, 1], by channel; default ImageNet's.")] = "",
    std: Annotated[str, typer.Option(help="Of the normalisation; default ImageNet's.")] = "",
    layer: Annotated[str, typer.Option(help="Layer of the features; default: the last linear layer.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 256,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    replicates: Annotated[int, typer.Option(min=0, help="Resamplings of the test samples; 0: no intervals.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Also write the table as CSV, with all digits.")] = None,
) -> None:
    """Compute detection metrics of a trained network on image folders, with 95 % intervals over test samples.

    Images are resized (shorter side) and cropped to --size and normalised; what is done is printed. Metrics are in
    percent.

    Example: reprood score --weights w.pth --network torchvision:resnet18 --id test --ood svhn=data/svhn
    """
    import reprood
    from reprood.engine.device import resolve_device
    from reprood.nets.whole import load_network

    model, classes, notes = load_network(network, weights)
    place = str(resolve_device(device))
    defaults = IMAGENET if channels == 3 else ("0.5", "0.5")
    with warnings.catch_warnings(record=True) as left_out:
        warnings.simplefilter("always", UserWarning)
        table = reprood.score(
            model, id=id, ood=_sets(ood), detectors=_words(detectors), train=train, layer=layer or None,
            batch_size=batch_size, device=place, workers=workers, size=size or None, channels=channels,
            mean=_numbers(mean or defaults[0], "--mean", channels), std=_numbers(std or defaults[1], "--std", channels),
            replicates=replicates, seed=seed,
        )  # fmt: skip
    for warning in left_out:
        print(f"warning: {warning.message}", file=sys.stderr)
    facts = table.attrs
    print(f"{network}, {classes} classes, weights {weights}{f' ({notes})' if notes else ''}, on {place}")
    print(f"images: {facts['preprocessing']}")
    print(f"features: input of layer {facts['layer']}" if "layer" in facts else "features: not needed")
    if "accuracy" in facts:
        print(f"accuracy: {100 * facts['accuracy']:.2f} %, if class numbers are the order of the folders")
    _show(table, replicates)
    if out is not None:
        from reprood.core.files import atomic_path

        with atomic_path(out) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _numbers(text: str, option: str, count: int) -> list[float]:
    """Parse one number for each channel; a single one is for all."""
    try:
        values = [float(word) for word in _words(text)]
    except ValueError as error:
        raise ReproodError(f"{option} is '{text}'; expected numbers separated by commas.") from error
    if len(values) not in (1, count):
        raise ReproodError(f"{option} has {len(values)} numbers; expected 1 or {count}.")
    return values * count if len(values) == 1 else values


def _sets(pairs: list[str]) -> dict[str, Path]:
    """Return the folder of each OOD set by name; a folder without a name has its own."""
    found: dict[str, Path] = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        path = Path(folder if equals else pair)
        name = name if equals else path.resolve().name
        if name in found:
            raise ReproodError(f"Two OOD sets are named '{name}'; give --ood NAME={path}.")
        found[name] = path
    return found


def _show(table: "pd.DataFrame", replicates: int) -> None:
    """Print the table in percent, with intervals."""
    from reprood.cli.tables import print_table

    rows = []
    for row in table.to_dict("records"):
        cells = [f"{row['detector']}", f"{row['ood']}", f"{row['n_id']:,}", f"{row['n_ood']:,}"]
        for metric in SHOWN:
            ends = f" ({100 * row[f'{metric}_low']:.1f}-{100 * row[f'{metric}_high']:.1f})" if replicates else ""
            cells.append(f"{100 * row[metric]:.1f}{ends}")
        rows.append(tuple(cells))
    print_table(("detector", "ood", "n_id", "n_ood", *SHOWN), rows, range(2, 4 + len(SHOWN)))
