"""Transfer to detection: pre-trained classifiers as backbones of SSD and Faster R-CNN.

CutMix (Yun et al. 2019, arXiv 1905.04899), Table 10, on Pascal VOC 2007; at small scale on generated scenes of letters
that the classifiers have never seen. All arms of a seed have the same scenes, initial heads, order and draws.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn

from reprood.core.errors import ReproodError
from reprood.data.photographs import BoxedImages, boxed
from reprood.data.voc import Voc, read_voc
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.evaluate.boxes import Boxes, average_precision, require_pycocotools
from reprood.nets.box_detectors import FasterRcnnSettings, SsdSettings, build_faster_rcnn, build_ssd
from reprood.studies.base import Context, Findings, Row, Study
from reprood.studies.transfer import (
    RowTraining,
    SceneSettings,
    Source,
    arm_run,
    arms_of,
    channels_of,
    picture,
    reader,
    rows_of,
    source_of,
    train_on_rows,
)

Name = Literal["ssd", "faster_rcnn"]
CERTAIN = 0.5  # detections that the figure shows
FILL = (123 / 255, 117 / 255, 104 / 255)  # the mean colour with which the reference pipeline of SSD fills
SCHEDULE: dict[str, Any] = {
    "batch_size": 8,
    "weight_decay": 5e-4,
    "schedule": "cosine_step",
    "warmup_epochs": 1,
}


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    arms : dict
        Name of each arm -> row of the tables whose classifiers it uses, which the study's `methods` must name; by
        default the methods by their own names.
    detectors : tuple
        "ssd", "faster_rcnn".
    scenes : SceneSettings
        Generated scenes, unless `voc` is given.
    voc : Voc or None
        Photographs instead of scenes.
    ssd, faster_rcnn : SsdSettings, FasterRcnnSettings
        Shapes of the detectors.
    ssd_training, faster_rcnn_training : Training
        Schedules, without an `augment` of their own.
    augment : {"none", "flip", "ssd"}
        Nothing; horizontal flips; torchvision's reference pipeline for SSD (colours, zooming out, cropping around
        boxes, flips), which is for colour photographs.
    batch : int
        Images at a time in testing.
    threads : int
        Threads that decode photographs.
    shown : int
        Images for the figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arms: dict[str, str] = {}
    detectors: tuple[Name, ...] = Field(default=("ssd", "faster_rcnn"), min_length=1)
    scenes: SceneSettings = SceneSettings()
    voc: Voc | None = None
    ssd: SsdSettings = SsdSettings()
    faster_rcnn: FasterRcnnSettings = FasterRcnnSettings()
    ssd_training: RowTraining = Training(**SCHEDULE, epochs=20, lr=0.01, clip_norm=5.0)
    faster_rcnn_training: RowTraining = Training(**SCHEDULE, epochs=40, lr=0.02, clip_norm=10.0)
    augment: Literal["none", "flip", "ssd"] = "none"
    batch: int = Field(default=25, ge=1)
    threads: int = Field(default=1, ge=1)
    shown: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.augment == "ssd" and self.voc is None:
            raise ValueError("augment 'ssd' is for colour photographs, and generated scenes are grey; use 'flip'")
        return self


def load(config: Config, context: Context, seed: int, channels: int) -> tuple[BoxedImages, BoxedImages]:
    """Return training and test images of a seed; photographs are the same for all seeds."""
    if config.voc is not None:
        voc, folder = config.voc, Path(config.voc.folder)
        return read_voc(folder, voc.train, channels, voc.limit), read_voc(folder, voc.test, channels, voc.limit)
    train, test = config.scenes.both(context, seed)
    return boxed(train), boxed(test)


def build(name: Name, config: Config, source: Source, classes: int) -> nn.Module:
    """Return an untrained detector on a classifier's backbone; call it inside `seeded`."""
    model: nn.Module
    if name == "ssd":
        model = build_ssd(source.backbone, config.ssd, classes, source.mean, source.std)
    else:
        model = build_faster_rcnn(source.backbone, config.faster_rcnn, classes, source.mean, source.std)
    return model


def target_of(data: BoxedImages, row: int, device: torch.device) -> dict[str, Tensor]:
    """Return the boxes of an image as torchvision's detectors take them; difficult objects are left out."""
    counted = ~data.difficult[row]
    return {
        "boxes": torch.from_numpy(data.boxes[row][counted]).to(device),
        "labels": torch.from_numpy(data.labels[row][counted] + 1).to(device),  # 0 is the background
    }


def flip(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Mirror an image [C, H, W] and its boxes horizontally."""
    x0, y0, x1, y1 = target["boxes"].unbind(1)
    width = image.shape[2]
    return image.flip(2), {**target, "boxes": torch.stack((width - x1, y0, width - x0, y1), 1)}


def ssd_pipeline(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Augment one colour image as torchvision's reference training of SSD does; draws from the global generator."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    steps = v2.Compose(
        [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill=list(FILL)),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            v2.SanitizeBoundingBoxes(),
        ]
    )
    height, width = image.shape[1:]
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=(height, width))
    changed, found = steps(tv_tensors.Image(image), {"boxes": boxes, "labels": target["labels"]})
    return changed.as_subclass(Tensor), {
        "boxes": found["boxes"].as_subclass(Tensor),
        "labels": found["labels"],
    }


def train_detector(
    name: Name, config: Config, context: Context, seed: int, arm: str, source: Source, data: BoxedImages
) -> nn.Module:
    """Return a trained detector in evaluation mode."""
    run = arm_run(context, seed, arm)
    with seeded(run.seed("initialisation", name)):
        model = build(name, config, source, len(data.classes))
    training = config.ssd_training if name == "ssd" else config.faster_rcnn_training
    with reader(data.read, source.channels, run.device, config.threads) as read:

        def loss(network: nn.Module, rows: list[int], generator: Generator) -> Tensor:
            pairs = [(image, target_of(data, row, run.device)) for image, row in zip(read(rows), rows, strict=True)]
            if config.augment == "flip":
                turned = (torch.rand(len(rows), generator=generator) < 0.5).tolist()
                pairs = [flip(*pair) if now else pair for pair, now in zip(pairs, turned, strict=True)]
            elif config.augment == "ssd":
                pairs = [ssd_pipeline(*pair) for pair in pairs]
            losses: dict[str, Tensor] = network([image for image, _ in pairs], [target for _, target in pairs])
            return torch.stack(list(losses.values())).sum()

        train_on_rows(model, loss, len(data), training, run, name)
    return model


@torch.no_grad()
def detect(
    model: nn.Module, data: BoxedImages, channels: int, device: torch.device, batch: int, threads: int = 1
) -> list[Boxes]:
    """Return the detections of every image; classes are counted from 0."""
    found = []
    with reader(data.read, channels, device, threads) as read:
        for start in range(0, len(data), batch):
            for one in model(read(range(start, min(start + batch, len(data))))):
                parts = {name: value.cpu().numpy() for name, value in one.items()}
                found.append(Boxes(parts["boxes"], parts["labels"] - 1, parts["scores"]))
    return found


def truth_of(data: BoxedImages) -> list[Boxes]:
    """Return the true boxes of every image."""
    return [
        Boxes(boxes, labels, difficult=difficult)
        for boxes, labels, difficult in zip(data.boxes, data.labels, data.difficult, strict=True)
    ]


def measure(config: Config, context: Context) -> Findings:
    """Train every detector on every arm's classifier, for every seed.

    Returns
    -------
    Findings
        Metrics ssd_voc_map, ssd_coco_ap, faster_rcnn_voc_map, faster_rcnn_coco_ap in percent (see
        `average_precision`) of every arm; train_images, test_images (arm data). Arrays of the first seed: `notes` (on
        the data, text), `shown` uint8 [n, H, W, C] (photographs: cut to the smallest size), `classes`, and rows of
        boxes (image, label, score, x0, y0, x1, y1) `boxes_truth`, `boxes_<detector>_<arm>`.

    Raises
    ------
    ReproodError
        If pycocotools is missing, or data or classifiers do not fit.
    """
    require_pycocotools()
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    arms = arms_of(config.arms, context)
    for seed in context.seeds:
        channels = channels_of(arms, context, seed)
        if config.augment == "ssd" and channels != 3:
            raise ReproodError(
                f"The study {context.name}: augment 'ssd' is for colour images, and the classifiers take images of "
                f"{channels} channel; use 'flip', or classifiers of colour images."
            )
        train, test = load(config, context, seed, channels)
        if seed == context.seeds[0]:
            truth = table_of(truth_of(test)[: config.shown], 0.0)
            arrays = {**picture(train, test, config.shown), "classes": np.array(test.classes), "boxes_truth": truth}
        rows += rows_of(seed, "data", {"train_images": len(train), "test_images": len(test)})
        for arm, method in arms.items():
            for name in config.detectors:
                source = source_of(context, method, seed, channels)
                model = train_detector(name, config, context, seed, arm, source, train)
                found = detect(model, test, channels, context.device, config.batch, config.threads)
                numbers = average_precision(truth_of(test), found, len(test.classes))
                rows += rows_of(seed, arm, {f"{name}_{metric}": value for metric, value in numbers.items()})
                if seed == context.seeds[0]:
                    arrays[f"boxes_{name}_{arm}"] = table_of(found[: config.shown], CERTAIN)
    return Findings(rows, arrays)


def table_of(images: list[Boxes], least: float) -> np.ndarray:
    """Return boxes as rows float32 [n, 7]: image, label, score (1 for true boxes), x0, y0, x1, y1."""
    found = [
        (number, label, score, *box)
        for number, one in enumerate(images)
        for box, label, score in zip(
            one.boxes, one.labels, np.ones(len(one.labels)) if one.scores is None else one.scores, strict=True
        )
        if score >= least
    ]
    return np.array(found, np.float32).reshape(-1, 7)


STUDY = Study(name="detection", config=Config, measure=measure)
