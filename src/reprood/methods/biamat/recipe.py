"""Learning rates of BiaMAT's two programs, which the shared schedules do not have to the step."""

from typing import Literal

from pydantic import model_validator

from reprood.engine.schedules import warmup
from reprood.engine.training import Training

BAG_OF_TRICKS = (100 / 110, 105 / 110)  # shares of all epochs


def at_rate(lr: float, step: int, steps: int) -> float:
    """Return the rate of the adversarial training program before the update of step `step` (0-based) of `steps`.

    A tenth after three fifths of the steps and a hundredth after nine tenths; the steps on the boundaries (23,400 and
    35,100 of 39,000) still have the old rate.

    Examples
    --------
    >>> [round(at_rate(0.1, step, 10), 4) for step in (0, 6, 7, 9)]
    [0.1, 0.1, 0.01, 0.01]
    """
    return lr * 0.1 ** ((5 * step > 3 * steps) + (10 * step > 9 * steps))


def bag_of_tricks_rate(lr: float, epoch: int, epochs: int) -> float:
    """Return the rate of the TRADES program in epoch `epoch` (counted from 1) of `epochs`.

    It drops by ten at int(E * 100 / 110) and again at int(E * 105 / 110), which may be the same epoch; for the code's
    110 epochs these are 100 and 105.

    Examples
    --------
    >>> [round(bag_of_tricks_rate(0.05, epoch, 11), 5) for epoch in (9, 10, 11)]
    [0.05, 0.0005, 0.0005]
    """
    return lr * 0.1 ** sum(epoch >= int(epochs * share) for share in BAG_OF_TRICKS)


def trades_rate(lr: float, epoch: int, epochs: int) -> float:
    """Return the rate of the TRADES program's other schedule, epoch counted from 1.

    It drops by ten at int(0.75 E) and again at 0.9 E.

    Examples
    --------
    >>> [round(trades_rate(0.1, epoch, 10), 4) for epoch in (6, 7, 8, 9)]
    [0.1, 0.01, 0.01, 0.001]
    """
    return lr * 0.1 ** ((epoch >= 3 * epochs // 4) + (10 * epoch >= 9 * epochs))


class Recipe(Training):
    """The settings of a training phase, with the learning rates of BiaMAT's code.

    Attributes
    ----------
    drops : {"at", "bag_of_tricks", "trades", "none"}
        Which of this module's rules replaces `schedule`; "none": `schedule` is used.
    """

    drops: Literal["at", "bag_of_tricks", "trades", "none"] = "at"

    @model_validator(mode="after")
    def _one_rule(self) -> "Recipe":
        if self.drops != "none" and self.schedule != "multistep":
            raise ValueError(f"drops: {self.drops} replaces schedule: {self.schedule}; set drops to none")
        return self

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """Return the learning rate of step `step` (0-based, of `steps`) in epoch `epoch` (0-based)."""
        match self.drops:
            case "none":
                return super().rate(epoch, step, steps)
            case "at":
                rate = at_rate(self.lr, epoch * steps + step, self.epochs * steps)
            case "bag_of_tricks":
                rate = bag_of_tricks_rate(self.lr, epoch + 1, self.epochs)
            case "trades":
                rate = trades_rate(self.lr, epoch + 1, self.epochs)
        if self.warmup_epochs:
            rate = warmup(rate, epoch + step / steps, self.warmup_epochs, self.warmup_start)
        return rate
