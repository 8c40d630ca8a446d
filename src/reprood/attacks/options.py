"""Options of an attack in a suite. Without torch, because the configuration imports this module."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["fgsm", "pgd", "cw", "autoattack"]
Norm = Literal["linf", "l2"]
Loss = Literal["ce", "margin"]


class Attack(BaseModel):
    """A white-box attack on test images in [0, 1] with the true labels.

    Attributes
    ----------
    kind : {"fgsm", "pgd", "cw", "autoattack"}
        One step; projected gradient ascent from a random start; the same on the margin loss; or AutoAttack's standard
        version (an extra package; it uses only `norm`, `eps` and `limit`).
    norm : {"linf", "l2"}
        Norm of `eps` and `step`.
    eps, step : float
        Radius and step in units of [0, 1] images (8/255 is 0.0313725); the default step is 2/255.
    steps, restarts : int
        Numbers of steps and of random restarts of pgd and cw.
    clip_start : bool
        Clip the random start of pgd and cw to [0, 1], as the program of BiaMAT's adversarial training does; that of
        TRADES and others clip after each step only.
    loss : {"ce", "margin"}
        Loss to maximise: the cross-entropy, or the margin of Carlini and Wagner.
    until_wrong : bool
        pgd and cw leave an image where it is first misclassified. Its error is then that of the worst point on the
        way instead of the last one: never lower, and higher only if later steps would have made it right again. The
        papers' programs take all steps; saved are the steps of all images that are misclassified.
    limit : int or None
        Number of test images, from the first on; default: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "pgd"
    norm: Norm = "linf"
    eps: float = Field(default=8 / 255, ge=0, allow_inf_nan=False)
    step: float = Field(default=2 / 255, gt=0, allow_inf_nan=False)
    steps: int = Field(default=20, ge=1)
    restarts: int = Field(default=1, ge=1)
    clip_start: bool = False
    loss: Loss = "ce"
    until_wrong: bool = False
    limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _cw_uses_margin(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == "cw":
            return {"loss": "margin", **values}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "Attack":
        if self.kind == "cw" and self.loss != "margin":
            raise ValueError(f"the attack cw maximises the margin, not {self.loss}; use kind: pgd for that")
        if self.until_wrong and self.kind not in ("pgd", "cw"):
            raise ValueError(f"until_wrong is for pgd and cw; remove it from the attack {self.kind}")
        if self.norm == "linf" and self.eps > 1:
            raise ValueError(f"eps {self.eps:g} is larger than the range of images, [0, 1]; write 8/255 as 0.0313725")
        return self
