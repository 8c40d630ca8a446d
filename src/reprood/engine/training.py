"""The settings of one training phase: optimiser, schedule, batches, augmentation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reprood.engine import schedules


class Training(BaseModel):
    """Settings of a training phase; every method has one with its paper's values.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the training set; images per step.
    optimizer : {"sgd", "lars"}
        Stochastic gradient descent with `momentum` and `nesterov`; or LARS with `momentum` (trust 0.001).
    lr, weight_decay : float
        Learning rate after warm-up; L2 decay of every parameter that a method does not exempt.
    schedule : str
        See `reprood.engine.schedules`.
        "constant"; "multistep" (times `gamma` from epoch int(f * epochs) for each f of `milestones`); "floor_steps"
        (CutMix's CIFAR rule, which rounds differently for odd numbers of epochs); "imagenet_steps" (CutMix's ImageNet
        rule); "cosine" (per epoch) and "cosine_step" (per step), both from `lr` to `final_lr`; "warmup_restart"
        (ReSmooth's: up to `warmup_factor` * lr in epoch `warmup_epochs`, then a cosine from lr); "gradual_cosine" and
        "gradual_multistep" (CSI's: per step up to `warmup_factor` * lr, then a cosine or steps from there; each step
        uses the rate of the previous step).
    milestones : tuple of float
        Shares of the epochs at which the rate drops, for "multistep", "floor_steps" and "gradual_multistep"
        (counted from the end of the warm-up in the latter).
    warmup_epochs : float
        The rate rises linearly, step by step, from `warmup_start` * lr to lr over the first epochs.
    warmup_factor : float
        Peak of "warmup_restart" and the "gradual" rules, as a multiple of lr; these do not use `warmup_start`.
    augment : {"crop_flip", "crop", "flip", "none"}
        Random crop after zero padding by `crop_padding` pixels, random horizontal flip.
    drop_last : bool
        Skip the last batch of an epoch if it is not full.
    smallest_batch : int
        Skip the last batch of an epoch if it has fewer images.
    clip_norm : float or None
        Maximum L2 norm of the gradient of all parameters.
    ema : float or None
        Decay of an exponential moving average of the weights, which replaces the weights at the end.
    monitor_every : int
        Epochs between two measurements of the monitored errors (the last epoch is always measured).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=300, ge=1)
    batch_size: int = Field(default=64, ge=1)
    optimizer: Literal["sgd", "lars"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal[
        "constant",
        "multistep",
        "floor_steps",
        "imagenet_steps",
        "cosine",
        "cosine_step",
        "warmup_restart",
        "gradual_cosine",
        "gradual_multistep",
    ] = "multistep"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = Field(default=0.1, gt=0, le=1)
    final_lr: float = Field(default=0.0, ge=0)
    warmup_epochs: float = Field(default=0.0, ge=0)
    warmup_start: float = Field(default=0.0, ge=0, le=1)
    warmup_factor: float = Field(default=2.0, ge=1)
    augment: Literal["crop_flip", "crop", "flip", "none"] = "crop_flip"
    crop_padding: int = Field(default=4, ge=0)
    drop_last: bool = False
    smallest_batch: int = Field(default=1, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    monitor_every: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if any(not 0 < share <= 1 for share in self.milestones):
            raise ValueError("milestones are shares of the epochs and must lie in (0, 1]")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.nesterov and self.optimizer != "sgd":
            raise ValueError("nesterov is for sgd only; set it to false")
        if self.smallest_batch > self.batch_size:
            raise ValueError("smallest_batch must not exceed batch_size")
        if self.warmup_epochs > self.epochs:
            raise ValueError("warmup_epochs must not exceed epochs")
        return self

    def steps(self, images: int) -> int:
        """Return the number of steps per epoch on a training set of `images` images."""
        full, rest = divmod(images, self.batch_size)
        return full + (not self.drop_last and rest >= self.smallest_batch)

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Return the learning rate of step `step` (0-based, of `steps`) in epoch `epoch` (0-based)."""
        match self.schedule:
            case "warmup_restart":
                return schedules.warmup_restart(
                    self.lr, epoch, self.epochs, int(self.warmup_epochs), self.warmup_factor
                )
            case "gradual_cosine" | "gradual_multistep":
                position = max(epoch * steps + step - 1, 0) / steps
                drops = self.milestones if self.schedule == "gradual_multistep" else ()
                return schedules.gradual(
                    self.lr, position, self.epochs, self.warmup_epochs, self.warmup_factor, drops, self.gamma
                )
            case "constant":
                rate = self.lr
            case "multistep":
                rate = schedules.multistep(self.lr, epoch, self.epochs, self.milestones, self.gamma)
            case "floor_steps":
                rate = schedules.floor_steps(self.lr, epoch, self.epochs, self.milestones, self.gamma)
            case "imagenet_steps":
                rate = schedules.imagenet_steps(self.lr, epoch, self.epochs, self.gamma)
            case "cosine":
                rate = schedules.cosine(self.lr, epoch / self.epochs, self.final_lr)
            case "cosine_step":
                rate = schedules.cosine(self.lr, (epoch + step / steps) / self.epochs, self.final_lr)
        if self.warmup_epochs:
            rate = schedules.warmup(rate, epoch + step / steps, self.warmup_epochs, self.warmup_start)
        return rate
