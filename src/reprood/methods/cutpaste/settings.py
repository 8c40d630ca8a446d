"""The settings of CutPaste."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from reprood.engine.training import Training
from reprood.methods.cutpaste.density import Density
from reprood.methods.cutpaste.paste import Bounds, Law

Proxy = Literal["normal", "scar", "union", "3way", "rotation", "none"]

OUTPUTS: dict[Proxy, int] = {"normal": 2, "scar": 2, "union": 2, "3way": 3, "rotation": 4, "none": 0}
NOT_PASTED = ("rotation", "none")  # proxies without a class of anomalous images


class Config(BaseModel):
    """Settings; the defaults are the paper's for MVTec AD at 256 x 256, as far as they are known.

    Attributes
    ----------
    training : Training
        256 "epochs" of 256 updates with 32 images (96 views in the 3-way task). The cosine is the re-implementation's,
        whose updates 0 and 1 both have the first rate. `augment` is not used.
    proxy : str
        What is learnt. "normal": images against copies with a large patch; "scar": with a thin rotated one; "union":
        with one of the two at random; "3way": normal, large and thin as three classes. "rotation": by how much an image
        was rotated (RotNet). "none": nothing; the network keeps its initial weights.
    pretrained : bool
        Start from torchvision's ImageNet weights (backbone `imagenet_resnet`); images are then normalised by ImageNet's
        statistics inside the network.
    freeze_updates : int
        With `pretrained`: number of first updates that train the head alone.
    epoch_images : int
        An epoch repeats the training set until there are this many images; 0: once.
    hidden : tuple of int
        Widths of the head's hidden layers, each linear, batch norm, ReLU. Unknown in the paper.
    jitter : float
        Strength of the colour jitter of images, and of patches.
    translation : float
        Images move by up to this fraction of their side, mirrored at the border: used by the paper, its size unknown.
    area, aspect, aspect_law
        Of large patches: bounds of the fraction of the image's area and of width / height, and the latter's law.
    scar_width, scar_height : (float, float)
        Bounds of the sides of thin patches in pixels.
    crop : int
        Side in pixels of the windows of a patch model; 0: whole images. Sizes of patches then are those in a window.
    stride : int
        Of the windows when images are scored.
    positions : {"shared", "each"}
        One density for the windows of all positions, or one for each: for objects that are always in the same place.
    windows : int
        Number of windows of each image, at random places, to which the shared density is fitted; 0: all.
    densities : tuple of str
        Scores of these names; the first one is also that of the maps.
    cam : {"classifier", "density"}
        Maps of a model of whole images are Grad-CAM of the classifier's log-odds against "normal", or of the distance
        in the density (the only choice for "rotation" and "none").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(
        epochs=256,
        batch_size=32,
        lr=0.03,
        weight_decay=3e-5,
        schedule="gradual_cosine",
        warmup_factor=1.0,
        augment="none",
        drop_last=True,
        monitor_every=16,
    )
    proxy: Proxy = "3way"
    pretrained: bool = False
    freeze_updates: int = Field(default=20, ge=0)
    epoch_images: int = Field(default=8192, ge=0)
    hidden: tuple[int, ...] = (512, 128)
    jitter: float = Field(default=0.1, ge=0, le=0.5)
    translation: float = Field(default=0.125, ge=0, lt=0.5)
    area: Bounds = (0.02, 0.15)
    aspect: Bounds = (0.3, 1 / 0.3)
    aspect_law: Law = "log"
    scar_width: Bounds = (2, 16)
    scar_height: Bounds = (10, 25)
    crop: int = Field(default=0, ge=0)
    stride: int = Field(default=4, ge=1)
    positions: Literal["shared", "each"] = "shared"
    windows: int = Field(default=64, ge=0)
    densities: tuple[Density, ...] = ("gaussian", "kde")
    cam: Literal["classifier", "density"] = "classifier"

    @field_validator("area", "aspect", "scar_width", "scar_height")
    @classmethod
    def _bounds(cls, bounds: Bounds) -> Bounds:
        if not 0 < bounds[0] <= bounds[1]:
            raise ValueError("must be two numbers above 0, the smaller first")
        return bounds

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.training.augment != "none":
            raise ValueError("CutPaste has its own augmentations; set training.augment to none")
        if self.area[1] > 1 or not self.aspect[0] <= 1 <= self.aspect[1]:
            raise ValueError("area is a fraction of the image's, and the bounds of aspect lie on both sides of 1")
        if not self.densities or len(set(self.densities)) < len(self.densities):
            raise ValueError("densities must name one or more, and none twice")
        if any(width < 1 for width in self.hidden):
            raise ValueError("the widths in hidden must be 1 or more")
        if self.positions == "each" and not self.crop:
            raise ValueError("positions: each needs windows; set crop")
        if self.cam == "classifier" and not self.crop and self.proxy in NOT_PASTED:
            raise ValueError(f"the proxy '{self.proxy}' has no class of anomalous images; set cam to density")
        return self
