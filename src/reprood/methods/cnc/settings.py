"""Settings of CnC, and the corruptions that it draws from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from reprood.engine.training import Training
from reprood.images.corruptions import (
    brightness,
    contrast,
    defocus_blur,
    elastic_transform,
    fog,
    frost,
    gaussian_blur,
    gaussian_noise,
    glass_blur,
    impulse_noise,
    saturate,
    shot_noise,
    snow,
    speckle_noise,
    zoom_blur,
)

Outliers = Literal["cnc", "reversed", "corruption", "pbcc", "gaussian_noise"]
Pairs = Literal["other_class", "any"]
Strengths = Literal["imagenet", "cifar"]
Frost = Literal["photographs", "drawn"]
# The fifteen of the paper, in the order of its code. Each is imported on its own, so no other corruption matters here.
CORRUPTIONS = {
    module.CORRUPTION.name: module.CORRUPTION
    for module in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        snow,
        fog,
        zoom_blur,
        contrast,
        elastic_transform,
        brightness,
        speckle_noise,
        gaussian_blur,
        saturate,
        frost,
    )
}
CNC_NAMES = tuple(CORRUPTIONS)


class Config(BaseModel):
    """Settings; the defaults are the paper's for CIFAR and ResNet-34, trained from scratch.

    Attributes
    ----------
    training : Training
    pretrain : Training or None
        A first phase on the K classes alone; the head then gets its extra output, and `training` is the fine-tuning.
        None: train K + 1 classes from the start, as in all of the paper's results.
    outliers : str
        How they are made from training images. "cnc": patches of two classes are combined, then corrupted; "reversed":
        corrupted, then combined (r-CnC); "corruption", "pbcc": one of the two alone; "gaussian_noise": corrupted by
        Gaussian noise alone.
    pairs : {"other_class", "any"}
        The other image of a combination: from another class, as the paper says, or any of the batch, as its code does.
    corruptions : tuple of str
        One of them is drawn for each image, with a severity from 1 to 5.
    strengths : {"imagenet", "cifar"}
        Of the corruptions: ImageNet-C's, which the published code calls and which are harsh at 32 pixels, or
        CIFAR-10-C's.
    frost : {"photographs", "drawn"}
        What the corruption "frost" blends in: crops of photographs, from the auxiliary set `frost_<strengths>` (a split
        of the data set `frost`), or a drawn texture for benchmarks without that set.
    alpha : float
        Weight of the outliers' loss.
    same_geometry : bool
        Crop and flip outliers like ID images. The code also rotates them by up to `rotation` degrees, which leaves
        black corners, and turns them upside down: signs of an outlier that test images do not have.
    same_normalisation : bool
        Normalise outliers like ID images. The code divides by a larger standard deviation.
    std_ratio : tuple of float
        That standard deviation as a multiple of the ID images', for RGB; grey images take the mean of the three.
    rotation : float
        Largest angle in degrees.

    Notes
    -----
    With "pbcc" geometry and normalisation are those of ID images, as in the code.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: Training = Training(epochs=200, lr=0.1, weight_decay=5e-4, schedule="multistep")
    pretrain: Training | None = None
    outliers: Outliers = "cnc"
    pairs: Pairs = "other_class"
    corruptions: tuple[str, ...] = Field(default=CNC_NAMES, min_length=1)
    strengths: Strengths = "imagenet"
    frost: Frost = "photographs"
    alpha: float = Field(default=1.0, ge=0)
    same_geometry: bool = False
    same_normalisation: bool = False
    std_ratio: tuple[float, float, float] = (0.247 / 0.2023, 0.243 / 0.1994, 0.262 / 0.2010)
    rotation: float = Field(default=15.0, ge=0, le=180)

    @field_validator("corruptions")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in CNC_NAMES:
                raise ValueError(f"the method has no corruption '{name}'; known: {', '.join(CNC_NAMES)}")
        return names
