"""torchvision's SSD and Faster R-CNN on the maps of a classifier.

W. Liu et al.: SSD: Single Shot MultiBox Detector, ECCV 2016, arXiv 1512.02325. S. Ren et al.: Faster R-CNN, NeurIPS
2015, arXiv 1506.01497; with the feature pyramid of T.-Y. Lin et al., CVPR 2017, arXiv 1612.03144. Defaults are for
scenes of 64 pixels; a suite gives those for photographs. Whatever is not in the settings (thresholds of matching and of
suppression, numbers of detections, shares of positives) is torchvision's default. Unlike its `ssd300_vgg16`, the first
maps are not normalised by their length; unlike its `fasterrcnn_resnet50_fpn`, all stages are trained, and batch
normalisation keeps its statistics but trains its gains and shifts. Images are normalised as for the classifier.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from reprood.core.errors import ReproodError
from reprood.nets.stage_maps import StageMaps, map_shapes

Count = Annotated[int, Field(ge=1)]


class SsdSettings(BaseModel):
    """Shape of an SSD.

    Attributes
    ----------
    size : int
        Side to which images are resized.
    levels, extra : int
        Stages of the classifier whose maps are used; further maps, each half as large, that are learnt from scratch.
    extra_width : int
        Channels of the further maps.
    adapted : int
        Channels of a convolution with ReLU on each of the classifier's maps, for networks whose stages end without an
        activation; 0 for none.
    scales : tuple of float
        Side of the default boxes on each map as a share of the image, and one more than there are maps.
    ratios : tuple of tuple of int
        Aspect ratios of the default boxes on each map, in addition to 1 (each also as its inverse).
    steps : tuple of int
        Pixels between the centres of neighbouring default boxes on each map; () = the image is divided evenly by the
        positions of the map.
    score_threshold : float
        Detections below it are dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, ge=16)
    levels: int = Field(default=2, ge=1)
    extra: int = Field(default=0, ge=0)
    extra_width: int = Field(default=64, ge=2)
    adapted: int = Field(default=32, ge=0)
    scales: tuple[float, ...] = (0.18, 0.3, 0.45)
    ratios: tuple[tuple[int, ...], ...] = ((), ())
    steps: tuple[Count, ...] = ()
    score_threshold: float = Field(default=0.01, ge=0, lt=1)


class FasterRcnnSettings(BaseModel):
    """Shape of a Faster R-CNN with a feature pyramid.

    Attributes
    ----------
    min_size, max_size : int
        The shorter side is resized to `min_size`, unless the longer one would exceed `max_size`.
    levels : int
        Stages of the classifier whose maps the pyramid joins.
    coarser : bool
        Whether a further, subsampled map is added on top of the pyramid.
    width, hidden : int
        Channels of the pyramid; units of the two layers on each region.
    anchors : tuple of tuple of int
        Sides in pixels of the anchors on each map.
    ratios : tuple of float
        Ratios of height to width of the anchors.
    region : int
        Side of the grid to which each region is pooled.
    train_proposals, test_proposals : (int, int)
        Regions kept before and after non-maximum suppression; before it, of each map.
    sampled_anchors, sampled_regions : int
        Anchors and regions of each image that enter the loss.
    score_threshold : float
        Detections below it are dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_size: int = Field(default=64, ge=16)
    max_size: int = Field(default=64, ge=16)
    levels: int = Field(default=2, ge=1)
    coarser: bool = False
    width: int = Field(default=32, ge=1)
    hidden: int = Field(default=64, ge=1)
    anchors: tuple[tuple[int, ...], ...] = ((12,), (20,))
    ratios: tuple[float, ...] = (1.0,)
    region: int = Field(default=5, ge=1)
    train_proposals: tuple[Count, Count] = (60, 30)
    test_proposals: tuple[Count, Count] = (60, 30)
    sampled_anchors: int = Field(default=32, ge=2)
    sampled_regions: int = Field(default=32, ge=2)
    score_threshold: float = Field(default=0.01, ge=0, lt=1)


class SsdMaps(nn.Module):
    """Maps of a classifier's stages, and further ones of half the side each."""

    def __init__(self, stages: StageMaps, settings: SsdSettings, channels: int) -> None:
        super().__init__()
        self.stages = stages
        shapes = map_shapes(stages, channels, settings.size)
        (inputs, side), blocks = shapes[-1], []
        widths = [settings.adapted or width for width, _ in shapes]
        self.out_channels = widths + [settings.extra_width] * settings.extra
        self.adapt = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, settings.adapted, 3, padding=1), nn.ReLU())
            if settings.adapted
            else nn.Identity()
            for width, _ in shapes
        )
        for _ in range(settings.extra):
            if side < 2:
                raise ReproodError(f"SSD: {settings.extra} further maps do not fit below one of side {side}.")
            padding = 1 if side > 3 else 0
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(inputs, settings.extra_width // 2, 1),
                    nn.ReLU(),
                    nn.Conv2d(settings.extra_width // 2, settings.extra_width, min(3, side + 2 * padding), 2, padding),
                    nn.ReLU(),
                )
            )
            inputs, side = settings.extra_width, (side + 2 * padding - 3) // 2 + 1 if side > 2 else 1
        self.extra = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Return the maps by number, from fine to coarse."""
        maps = self.stages(images)
        last, found = maps[-1], [adapt(part) for adapt, part in zip(self.adapt, maps, strict=True)]
        for block in self.extra:
            last = block(last)
            found.append(last)
        return OrderedDict((str(number), part) for number, part in enumerate(found))


class PyramidMaps(nn.Module):
    """Maps of a classifier's stages, joined by a feature pyramid."""

    def __init__(self, stages: StageMaps, settings: FasterRcnnSettings, channels: int) -> None:
        super().__init__()
        self.stages = stages
        widths = [width for width, _ in map_shapes(stages, channels, settings.min_size)]
        coarser = LastLevelMaxPool() if settings.coarser else None
        self.pyramid = FeaturePyramidNetwork(widths, settings.width, coarser)
        self.out_channels = settings.width

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Return the maps by number, from fine to coarse; the further one of `coarser` is called pool."""
        maps = OrderedDict((str(number), part) for number, part in enumerate(self.stages(images)))
        found: OrderedDict[str, Tensor] = self.pyramid(maps)
        return found


def build_ssd(
    backbone: nn.Module, settings: SsdSettings, classes: int, mean: Sequence[float], std: Sequence[float]
) -> SSD:
    """Return an SSD on a classifier's backbone; call it inside `seeded`.

    It takes a list of images [C, H, W] in [0, 1]; labels are 1 to `classes`, 0 is the background.

    Raises
    ------
    ReproodError
        If scales, ratios or steps do not match the number of maps.
    """
    maps = settings.levels + settings.extra
    if settings.steps and len(settings.steps) != maps:
        raise ReproodError(f"SSD: {len(settings.steps)} steps for {maps} maps; expected one each, or none.")
    if len(settings.scales) != maps + 1 or len(settings.ratios) != maps:
        raise ReproodError(
            f"SSD: {len(settings.scales)} scales and ratios for {len(settings.ratios)} maps; with {maps} maps, "
            f"expected {maps + 1} and {maps}."
        )
    body = SsdMaps(StageMaps(backbone, settings.levels), settings, len(mean))
    ratios, scales = [list(one) for one in settings.ratios], list(settings.scales)
    boxes = DefaultBoxGenerator(ratios, scales=scales, steps=list(settings.steps) or None)
    options: dict[str, Any] = {"image_mean": list(mean), "image_std": list(std)}
    return SSD(
        body, boxes, (settings.size, settings.size), classes + 1, score_thresh=settings.score_threshold, **options
    )


def build_faster_rcnn(
    backbone: nn.Module, settings: FasterRcnnSettings, classes: int, mean: Sequence[float], std: Sequence[float]
) -> FasterRCNN:
    """Return a Faster R-CNN on a classifier's backbone; call it inside `seeded`.

    It takes a list of images [C, H, W] in [0, 1]; labels are 1 to `classes`, 0 is the background.

    Raises
    ------
    ReproodError
        If the anchors do not match the number of maps.
    """
    maps = settings.levels + settings.coarser
    if len(settings.anchors) != maps:
        raise ReproodError(f"Faster R-CNN: anchors for {len(settings.anchors)} maps; expected {maps}.")
    body = PyramidMaps(StageMaps(backbone, settings.levels), settings, len(mean))
    names = [str(number) for number in range(settings.levels)]
    (before_train, after_train), (before_test, after_test) = settings.train_proposals, settings.test_proposals
    return FasterRCNN(
        body,
        min_size=settings.min_size,
        max_size=settings.max_size,
        image_mean=list(mean),
        image_std=list(std),
        rpn_anchor_generator=AnchorGenerator(settings.anchors, (settings.ratios,) * maps),
        rpn_pre_nms_top_n_train=before_train,
        rpn_pre_nms_top_n_test=before_test,
        rpn_post_nms_top_n_train=after_train,
        rpn_post_nms_top_n_test=after_test,
        rpn_batch_size_per_image=settings.sampled_anchors,
        box_roi_pool=MultiScaleRoIAlign(names, settings.region, sampling_ratio=2),
        box_head=TwoMLPHead(settings.width * settings.region**2, settings.hidden),
        box_predictor=FastRCNNPredictor(settings.hidden, classes + 1),
        box_score_thresh=settings.score_threshold,
        box_batch_size_per_image=settings.sampled_regions,
    )
