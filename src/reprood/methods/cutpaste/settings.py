"""The settings of CutPaste."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from reprood.engine.training import Training
from reprood.methods.cutpaste.density import Density
from reprood.methods.cutpaste.fill import Fill
from reprood.methods.cutpaste.paste import Bounds, Law

Proxy = Literal["normal", "scar", "union", "3way", "cutout", "confetti", "colour_scar", "rotation", "none"]

OUTPUTS: dict[Proxy, int] = {
    "normal": 2, "scar": 2, "union": 2, "3way": 3,
    "cutout": 2, "confetti": 2, "colour_scar": 2, "rotation": 4, "none": 0,
}  # fmt: skip
FILLED = ("cutout", "confetti", "colour_scar")  # proxies whose patches are not cut from images
NOT_PASTED = ("rotation", "none")  # proxies without a class of anomalous images


RECIPE = Training(
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


class Config(BaseModel):
    """Settings; the defaults are the paper's for MVTec AD at 256 x 256, as far as it states them.

    Attributes
    ----------
    training : Training
        256 "epochs" of 256 updates with 32 images, which are 96 views in the 3-way task (A.1; that its batches of 64
        and 96 count views is our reading). The form of the cosine is that of the re-implementation by Runinho, whose
        updates 0 and 1 both have the first rate. `augment` is not used. From ImageNet weights the paper trains all
        layers for 64 epochs at the rate 1e-4 with batches of 24 views (A.4): 8 images, with `epoch_images` 2048.
    head_training : Training
        With `pretrained`: a first stage that trains the head alone (A.4: 10 epochs, batches of 24 views).
    proxy : str
        What is learnt. "normal": images against copies with a large patch; "scar": with a thin rotated one; "union":
        with one of the two at random; "3way": normal, large and thin as three classes. Against patches that are not cut
        from images (section 5.1): "cutout": a rectangle of one colour; "confetti": one whose colours are moved;
        "colour_scar": a thin rotated rectangle of a random colour ("Scar" of Table 1). "rotation": by how much an image
        was rotated (RotNet). "none": nothing; the network keeps its initial weights.
    fill : {"grey", "mean", "colour"}
        Of the rectangle of "cutout" (Table 4): 128 in every channel, the mean colour of the image, a random colour.
    pretrained : bool
        Start from torchvision's ImageNet weights (backbones `efficientnet`, `imagenet_resnet`); images are then
        normalised by ImageNet's statistics inside the network.
    frozen_norm : bool
        With `pretrained`: keep the statistics, gains and shifts of the backbone's batch norms (A.4). The head's are
        always trained.
    level : int or None
        Fit the densities to features of this level of an `efficientnet` (the paper's "level-7": 7); None: to the
        pooled output, which the proxy task always uses.
    epoch_images : int
        An epoch repeats the training set until there are this many images; 0: once.
    hidden : tuple of int
        Widths of the head's hidden layers, each linear, batch norm, ReLU. Not given in the paper.
    jitter : float
        Strength of the colour jitter of images, which the paper does not give.
    patch_jitter : float or None
        Strength of the colour jitter of patches (A.2: 0.1; Table 8); None: that of images.
    translation : float
        Images move by up to this fraction of their side, mirrored at the border; used by the paper, size not given.
    area, aspect, aspect_law
        Of large patches: bounds of the fraction of the image's area and of width / height, and the law of the latter.
        The paper samples the aspect from "(0.3, 1) U (1, 3.3)" after torchvision's RandomErasing, where its logarithm
        is uniform ("log"); "intervals" is the literal reading.
    scar_width, scar_height : (float, float)
        Bounds of the sides of thin patches in pixels, in whole images and in windows (A.2).
    crop : int
        Side in pixels of the windows of a patch model; 0: whole images. The paper has 64 pixels in section 4.2 and 32
        in A.5. A window is cut first, then patches are pasted in it (eq. 3).
    stride : int
        Of the windows when images are scored.
    positions : {"shared", "each"}
        One density for the windows of all positions, or one for each. The paper has the latter for eight objects that
        are always in the same place (A.5). Without windows there is one position.
    windows : int
        Number of windows of each image, at random places, to which a shared density is fitted; 0: all, as in the paper.
    densities : tuple of str
        Scores of these names; the first one is also that of the maps.
    cam : {"density", "classifier"}
        Maps of a model of whole images are Grad-CAM of the distance in the density, which is the paper's anomaly
        detector (4.2), or of the classifier's log-odds against "normal" (not for "rotation" and "none").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = RECIPE
    head_training: Training = RECIPE.model_copy(update={"epochs": 10, "batch_size": 8})
    proxy: Proxy = "3way"
    fill: Fill = "grey"
    pretrained: bool = False
    frozen_norm: bool = True
    level: int | None = Field(default=None, ge=1)
    epoch_images: int = Field(default=8192, ge=0)
    hidden: tuple[int, ...] = (512, 128)
    jitter: float = Field(default=0.1, ge=0, le=0.5)
    patch_jitter: float | None = Field(default=None, ge=0, le=0.5)
    translation: float = Field(default=0.125, ge=0, lt=0.5)
    area: Bounds = (0.02, 0.15)
    aspect: Bounds = (0.3, 3.3)
    aspect_law: Law = "log"
    scar_width: Bounds = (2, 16)
    scar_height: Bounds = (10, 25)
    crop: int = Field(default=0, ge=0)
    stride: int = Field(default=4, ge=1)
    positions: Literal["shared", "each"] = "shared"
    windows: int = Field(default=64, ge=0)
    densities: tuple[Density, ...] = ("gaussian", "gaussian_ml", "kde")
    cam: Literal["density", "classifier"] = "density"

    @field_validator("area", "aspect", "scar_width", "scar_height")
    @classmethod
    def _bounds(cls, bounds: Bounds) -> Bounds:
        if not 0 < bounds[0] <= bounds[1]:
            raise ValueError("must be two numbers above 0, the smaller first")
        return bounds

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.training.augment != "none" or self.head_training.augment != "none":
            raise ValueError(
                "CutPaste has its own augmentations; set training.augment and head_training.augment to none"
            )
        if self.area[1] > 1 or not self.aspect[0] <= 1 <= self.aspect[1]:
            raise ValueError("area is a fraction of the image's, and the bounds of aspect lie on both sides of 1")
        if not self.densities or len(set(self.densities)) < len(self.densities):
            raise ValueError("densities must name one or more, and none twice")
        if any(width < 1 for width in self.hidden):
            raise ValueError("the widths in hidden must be 1 or more")
        if self.cam == "classifier" and not self.crop and self.proxy in NOT_PASTED:
            raise ValueError(f"the proxy '{self.proxy}' has no class of anomalous images; set cam to density")
        return self
