"""Mixing of feature maps: depth 0 is CutMix or Mixup, deeper layers mix what they return."""

import pytest
import torch
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.seeds import seeded
from reprood.methods import feature_mix
from reprood.methods.cutmix import cutmix_batch, mixed_cross_entropy, mixup_batch, rand_box
from reprood.methods.feature_mix import Config, changed_output, layers, mixed_loss, mixture
from reprood.nets import densenet, pyramidnet, resnet, wrn
from reprood.nets.classifier import Classifier

NETS = {
    "wrn": lambda: wrn.build(1, depth=10, width=0.5),
    "resnet": lambda: resnet.build(1, depth=8, stages=3, base=4),
    "pyramidnet": lambda: pyramidnet.build(1, depth=11, widening=6),
}


def network(name: str) -> Classifier:
    with seeded(0):
        return Classifier(NETS[name](), 3).double().eval()


def batch(count: int = 6) -> Batch:
    random = torch.Generator().manual_seed(3)
    images = torch.randn(count, 1, 16, 16, generator=random, dtype=torch.float64)
    labels = torch.arange(count) % 3
    return Batch(images, labels, torch.arange(count), torch.Generator().manual_seed(4), 0, 0, 0.0)


@pytest.mark.parametrize("name", NETS)
def test_a_full_exchange_at_any_layer_gives_the_partners_logits(name: str) -> None:
    model, images, partner = network(name), batch().images, torch.tensor([1, 2, 3, 4, 5, 0])
    places = layers(model.backbone)
    assert len(places) == 4
    expected = model(images)[partner]
    for module in places:
        for mix in ("mixup", "cutmix"):

            def change(maps: Tensor, mix: str = mix) -> Tensor:
                mixed, weight = mixture(maps, Config(kind=mix), 0.0, (0.5, 0.5), partner)
                assert weight == 0
                return mixed

            with changed_output(module, change):
                torch.testing.assert_close(model(images), expected)
        torch.testing.assert_close(model(images)[partner], expected)  # the hook is gone


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
@pytest.mark.parametrize("depth", [0, 2])
def test_the_loss_is_that_of_the_mixed_layer(mix: str, depth: int) -> None:
    model, given = network("resnet"), batch()
    found = mixed_loss(model, model, given, Config(kind=mix, depths=(depth,)))
    again = batch().generator  # the same draws, in their order
    torch.rand((), generator=again)
    lam = feature_mix.draw_lambda(1.0, again)
    torch.randint(1, (), generator=again)
    row, column = (int(torch.randint(16, (), generator=again)) for _ in range(2))
    partner = torch.randperm(6, generator=again)
    backbone = model.backbone
    maps = given.images if depth == 0 else backbone.stages[0](torch.relu(backbone.norm(backbone.stem(given.images))))
    if mix == "mixup":
        mixed, weight = mixup_batch(maps, lam, partner), lam
    else:
        box, weight = rand_box((16, 16), lam, (row, column))
        mixed = cutmix_batch(maps, box, partner)
    if depth == 0:
        logits = model(mixed)
    else:
        for stage in backbone.stages[1:]:
            mixed = stage(mixed)
        logits = model.head(mixed.mean((2, 3)))
    expected = mixed_cross_entropy(logits, given.labels, given.labels[partner], weight)
    torch.testing.assert_close(found, expected)


def test_a_network_without_stages_and_a_layer_too_deep_are_refused() -> None:
    with pytest.raises(ReproodError, match="after the stages of a network, and DenseNet has none"):
        layers(densenet.build(1, depth=10, growth=4))
    model: nn.Module = network("wrn")
    with pytest.raises(ReproodError, match="depths names 7, and the network has 4 layers"):
        mixed_loss(model, model, batch(), Config(depths=(7,)))
