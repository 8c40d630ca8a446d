"""Records of changed copies of the test set: corrupted, occluded and mixed (attacks: `reprood.attacks.options`)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from reprood.config.records import Record

# The fifteen corruptions of CIFAR-10-C and ImageNet-C, in the published order.
PUBLISHED_CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
SEVERITIES = (1, 2, 3, 4, 5)


class Corruptions(Record):
    """Corrupted copies of the test set (Hendrycks & Dietterich 2019).

    Attributes
    ----------
    strengths : {"cifar", "imagenet"}
        The strengths of CIFAR-10-C or of ImageNet-C.
    names : tuple of str
        Which corruptions.
    severities : tuple of int
        From 1 to 5.
    limit : int or None
        Number of test images to corrupt, from the first on; None: all.
    frost : {"photographs", "drawn"}
        What the corruption "frost" blends in: crops of photographs, which the benchmark has as the auxiliary set
        `frost_<strengths>` (data set `frost`), or a drawn texture, which is darker and has more contrast.
    baseline : str
        The method whose errors normalise the relative mean corruption error (mCE); "" omits it.
    """

    strengths: Literal["cifar", "imagenet"] = "cifar"
    names: tuple[str, ...] = Field(default=PUBLISHED_CORRUPTIONS, min_length=1)
    severities: tuple[int, ...] = Field(default=SEVERITIES, min_length=1)
    limit: int | None = Field(default=None, ge=1)
    frost: Literal["photographs", "drawn"] = "photographs"
    baseline: str = ""

    @property
    def frost_set(self) -> str:
        """Return the name of the auxiliary set with photographs of frost; "" if none is needed."""
        return f"frost_{self.strengths}" if "frost" in self.names and self.frost == "photographs" else ""

    @model_validator(mode="after")
    def _distinct(self) -> "Corruptions":
        wrong = [severity for severity in self.severities if severity not in SEVERITIES]
        if wrong:
            raise ValueError(f"a severity is one of 1 to 5, not {wrong[0]}")
        for what, given in (("corruption", self.names), ("severity", self.severities)):
            if len(set(given)) < len(given):
                raise ValueError(f"a {what} is named twice; name each once")
        return self


class Occlusion(Record):
    """Square holes in the test images (CutMix, section 4.4).

    Attributes
    ----------
    sides : tuple of int
        Sides of the square in pixels.
    where : tuple of {"center", "boundary"}
        What is hidden: the square in the middle, or everything around it.
    limit : int or None
        Number of test images, from the first on; None: all.
    """

    sides: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    where: tuple[Literal["center", "boundary"], ...] = Field(default=("center", "boundary"), min_length=1)
    limit: int | None = Field(default=None, ge=1)


class Between(Record):
    """Images between two test images, each mixed with another one (CutMix, Figure 5b).

    Attributes
    ----------
    kinds : tuple of {"mixup", "cutmix"}
        A weighted mean of both images, or a square of the second one in the middle of the first one.
    shares : tuple of int
        Share of the second image, in percent: its weight, or the area of the square.
    limit : int or None
        Number of test images, from the first on; None: all. Partners are among them.
    """

    kinds: tuple[Literal["mixup", "cutmix"], ...] = Field(default=("mixup", "cutmix"), min_length=1)
    shares: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(min_length=1)
    limit: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _distinct(self) -> "Between":
        for what, given in (("kind", self.kinds), ("share", self.shares)):
            if len(set(given)) < len(given):
                raise ValueError(f"a {what} is named twice; name each once")
        return self
