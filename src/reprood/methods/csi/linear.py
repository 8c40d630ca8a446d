"""The linear stage of CSI with labels: layers for classes, shifts and both, on the features of a frozen network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.engine.batches import Batch, make_normalise
from reprood.engine.device import autocast
from reprood.engine.fit import fit
from reprood.engine.problem import ImageSet, Problem
from reprood.engine.run import Run
from reprood.engine.training import Training
from reprood.methods.csi.loss import joint_labels, shift_cross_entropy
from reprood.methods.csi.net import ContrastiveNet, marginalised
from reprood.methods.csi.shifts import Shift
from reprood.methods.csi.views import training_views

MONITOR_BATCH = 500


def linear_loss(model: ContrastiveNet, features: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of the linear layers, which share nothing: as if each was trained alone.

    Parameters
    ----------
    model : ContrastiveNet
        Network with the linear layers.
    features : Tensor [K B, d]
        Of one view of every image under every shift, shift by shift. The class layer sees the unshifted rows only.
    labels : int64 Tensor [B]
        Class indices of the images.
    """
    assert model.head is not None
    total = functional.cross_entropy(model.head(features[: len(labels)]).float(), labels)
    if model.shift_head is not None and model.joint_head is not None:
        total = total + shift_cross_entropy(model.shift_head(features).float(), model.shift)
        both = joint_labels(labels, model.classes, model.shift)
        total = total + functional.cross_entropy(model.joint_head(features).float(), both)
    return total


def fit_linear(
    model: ContrastiveNet, problem: Problem, training: Training, run: Run, kind: Shift, crop_first: bool
) -> list[dict[str, Any]]:
    """Train the linear layers alone, on augmented images and a network in evaluation mode.

    The history has the errors of the class layer in percent and, with shifts, of the prediction averaged over shifts.
    """
    for frozen in (model.backbone, model.project):
        frozen.requires_grad_(False)
    layout = torch.channels_last if run.channels_last else torch.contiguous_format

    def views(images: Tensor, generator: Generator) -> Tensor:
        shown = training_views(images, kind, generator, crop_first=crop_first, views=1)
        return shown.contiguous(memory_format=layout)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        model.backbone.eval()  # freezes the batch statistics as well
        with torch.no_grad():
            features = model.embed(batch.images)
        return linear_loss(model, features, batch.labels)

    def errors(network: nn.Module) -> dict[str, float]:
        row = {}
        for name, part in problem.monitor.items():
            row[f"{name}_error"] = prediction_error(model.single, model, part, problem, run)
            if model.joint_head is not None:
                row[f"{name}_marginalised_error"] = prediction_error(
                    lambda images: marginalised(model.joint_logits(images), model.classes), model, part, problem, run
                )
        return row

    return fit(model, loss, problem.train, training, run, problem=problem, phase="linear", inputs=views, monitor=errors)


@torch.no_grad()
def prediction_error(
    predict: Callable[[Tensor], Tensor], model: nn.Module, data: ImageSet, problem: Problem, run: Run
) -> float:
    """Return the error in percent of predictions; `predict` gives logits [B, C] for normalised images."""
    prepare = make_normalise(problem, run)
    wrong = torch.zeros((), dtype=torch.int64, device=run.device)
    was_training = model.training
    model.eval()
    for rows in torch.split(torch.arange(len(data), device=run.device), MONITOR_BATCH):
        with autocast(run.precision, run.device):
            logits = predict(prepare(data.images[rows]))
        wrong += (logits.argmax(1) != data.labels[rows]).sum()
    model.train(was_training)
    return 100 * int(wrong) / len(data)
