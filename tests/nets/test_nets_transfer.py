"""Maps of stages, detectors and the caption generator: shapes, frozen statistics, search against enumeration."""

import doctest
from itertools import product

import pytest
import torch
from checkout import ROOT
from torch import nn
from torch.nn import functional
from torchvision.models.detection import fasterrcnn_resnet50_fpn, ssd300_vgg16
from torchvision.models.detection.image_list import ImageList

from reprood.config.load import load_suite
from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.nets import captioner, imagenet_resnet, torchvision, wrn
from reprood.nets.box_detectors import (
    FasterRcnnSettings,
    SsdSettings,
    build_faster_rcnn,
    build_ssd,
)
from reprood.nets.captioner import END, PADDING, START, UNKNOWN, Captioner, CaptionerSettings, caption_loss, search
from reprood.nets.stage_maps import StageMaps, map_shapes

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.2, 0.3)


def small(channels: int = 1) -> nn.Module:
    with seeded(0):
        return wrn.build(channels, depth=10, width=0.5, stem_stride=2)


def test_maps_of_stages():
    backbone = small()
    maps = StageMaps(backbone, 2)
    assert map_shapes(maps, 1, 64) == [(16, 16), (32, 8)]
    images = torch.randn(2, 1, 64, 64)
    maps.train()
    assert maps.training
    assert not backbone.norm.training
    fine, last = maps(images)
    torch.testing.assert_close(last.mean((2, 3)), backbone.eval()(images))
    torch.testing.assert_close(fine, backbone.stages[:2](backbone.stem(images)))
    assert not backbone.stages[1]._forward_hooks
    theirs = StageMaps(torchvision.build(3, model="resnet18"), 3)
    assert map_shapes(theirs, 3, 64) == [(128, 8), (256, 4), (512, 2)]
    with pytest.raises(ReproodError, match="Maps of 4 stages of a network with 3"):
        StageMaps(backbone, 4)
    with pytest.raises(ReproodError, match="has no stages"):
        StageMaps(nn.Identity(), 1)


def photographs(study: str, key: str) -> dict:
    """The settings of the suite `paper`."""
    return load_suite("paper", ROOT).studies[study].set[key]


def test_ssd300_has_the_maps_of_its_paper_and_the_default_boxes_of_torchvision():
    settings = SsdSettings.model_validate(photographs("detection_ssd", "ssd"))
    model = build_ssd(imagenet_resnet.build(3, depth=18, base=4), settings, 20, MEAN, STD).eval()
    found = model.backbone(torch.zeros(1, 3, 300, 300))
    assert [part.shape[2] for part in found.values()] == [38, 19, 10, 5, 3, 1]
    assert sum(part.shape[2] ** 2 * boxes for part, boxes in zip(found.values(), (4, 6, 6, 6, 4, 4))) == 8732
    theirs = ssd300_vgg16(weights=None, weights_backbone=None)
    images = ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)])
    ours, wanted = (one.anchor_generator(images, list(found.values()))[0] for one in (model, theirs))
    torch.testing.assert_close(ours, wanted)
    centres = (ours[:, :2] + ours[:, 2:]) / 2
    torch.testing.assert_close(centres[[0, 4]], torch.tensor([[4.0, 4.0], [12.0, 4.0]]))
    assert (model.nms_thresh, model.topk_candidates) == (theirs.nms_thresh, theirs.topk_candidates)


def test_faster_rcnn_for_photographs_differs_from_torchvisions_in_the_size_of_images_only():
    settings = FasterRcnnSettings.model_validate(photographs("detection_faster_rcnn", "faster_rcnn"))
    ours = build_faster_rcnn(imagenet_resnet.build(3, depth=18, base=4), settings, 20, MEAN, STD)
    theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    assert (ours.transform.min_size, ours.transform.max_size) == ((600,), 1000)
    for part in ("rpn.anchor_generator", "rpn", "roi_heads"):
        mine, wanted = ours.get_submodule(part), theirs.get_submodule(part)
        for name, value in vars(wanted).items():
            if not name.startswith("_") and isinstance(value, int | float | dict | tuple):
                assert getattr(mine, name) == value, (part, name)
    assert ours.rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
    assert ours.rpn._post_nms_top_n == {"training": 2000, "testing": 1000}
    assert ours.rpn.fg_bg_sampler.batch_size_per_image == theirs.rpn.fg_bg_sampler.batch_size_per_image
    assert ours.roi_heads.fg_bg_sampler.batch_size_per_image == theirs.roi_heads.fg_bg_sampler.batch_size_per_image


@pytest.mark.parametrize("name", ["ssd", "faster_rcnn"])
def test_detectors_learn_one_scene(name):
    """Losses are finite and fall; detections have the classes from 1, inside the image."""
    with seeded(0):
        if name == "ssd":
            model = build_ssd(small(), SsdSettings(), 3, (0.3,), (0.2,))
        else:
            model = build_faster_rcnn(small(), FasterRcnnSettings(), 3, (0.3,), (0.2,))
    image = torch.zeros(1, 64, 64)
    image[:, 10:24, 30:44] = 1
    target = {"boxes": torch.tensor([[30.0, 10, 44, 24]]), "labels": torch.tensor([2])}
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, foreach=True)
    losses = []
    with seeded(0):
        for _ in range(40):
            value = torch.stack(list(model.train()([image] * 4, [target] * 4).values())).sum()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
    assert losses[-1] < losses[0] / 3
    (found,) = model.eval()([image])
    assert int(found["labels"][0]) == 2
    torch.testing.assert_close(found["boxes"][0], target["boxes"][0], atol=4.0, rtol=0)


def test_settings_that_do_not_match():
    with pytest.raises(ReproodError, match="2 scales and ratios for 2 maps; with 2 maps, expected 3 and 2"):
        build_ssd(small(), SsdSettings(scales=(0.1, 0.2)), 3, (0.3,), (0.2,))
    with pytest.raises(ReproodError, match="SSD: 3 steps for 2 maps; expected one each"):
        build_ssd(small(), SsdSettings(steps=(8, 16, 32)), 3, (0.3,), (0.2,))
    with pytest.raises(ReproodError, match="anchors for 5 maps; expected 2"):
        build_faster_rcnn(small(), FasterRcnnSettings(anchors=((8,),) * 5), 3, (0.3,), (0.2,))
    with pytest.raises(ReproodError, match="9 further maps do not fit"):
        build_ssd(small(), SsdSettings(extra=9, scales=(0.1,) * 12, ratios=((),) * 11), 3, (0.3,), (0.2,))


def generator(words: int = 7, **settings: object) -> Captioner:
    shape = CaptionerSettings(**{"grid": 2, "embedding": 5, "hidden": 6, "attended": 4, **settings})
    with seeded(1):
        return Captioner(small(), shape, words, 1, 32).eval()


@pytest.mark.parametrize("attention", [True, False])
def test_captioner_and_search(attention):
    """The search with a wide beam finds the most probable of all captions of up to three words."""
    model = generator(attention=attention)
    with torch.no_grad():
        for parameter in [*model.out.parameters(), *model.cell.parameters()]:
            parameter.mul_(4)  # clear preferences
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        places = model.encode(image)
        assert places.shape == (1, 4 if attention else 1, 32)
        torch.testing.assert_close(places.mean(1), model.maps.backbone(image))
    best, value = [], -float("inf")
    vocabulary = range(UNKNOWN + 1, 7)
    for length in range(4):
        for words in product(vocabulary, repeat=length):
            caption = torch.tensor([[START, *words, END]])
            logits, weights = model(image, caption)
            torch.testing.assert_close(weights.sum(2), torch.ones(1, length + 1))
            allowed = logits.clone()
            allowed[..., [PADDING, START, UNKNOWN]] = -torch.inf
            if length == 3:
                allowed[:, 3, UNKNOWN + 1 :] = -torch.inf
            total = float(allowed.log_softmax(2).gather(2, caption[:, 1:, None]).sum())
            best, value = (list(words), total) if total > value else (best, value)
    found, attended = search(model, image, beam=30, longest=3)
    assert found == best
    assert attended.shape == (len(best), 4 if attention else 1)
    greedy, _ = search(model, image, beam=1, longest=3)
    assert len(greedy) <= 3


def test_loss_of_captions():
    logits, weights = torch.randn(2, 3, 7), torch.rand(2, 3, 4)
    captions = torch.tensor([[START, 4, 5, END], [START, END, PADDING, PADDING]])
    parts = [functional.cross_entropy(logits[0], captions[0, 1:], reduction="sum"), -logits[1, 0].log_softmax(0)[END]]
    expected = torch.stack(parts).sum() / 4
    torch.testing.assert_close(caption_loss(logits, weights, captions, 0.0), expected)
    uneven = ((1 - weights[0].sum(0)).square().sum() + (1 - weights[1, 0]).square().sum()) / 2
    torch.testing.assert_close(caption_loss(logits, weights, captions, 0.5), expected + 0.5 * uneven)


def test_a_frozen_encoder_gets_no_gradient():
    with seeded(1):
        model = Captioner(small(), CaptionerSettings(grid=2), 7, 1, 32, finetuned=False).train()
    logits, _ = model(torch.randn(2, 1, 32, 32), torch.tensor([[START, 4, END], [START, 5, END]]))
    logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.maps.parameters())
    assert model.embed.weight.grad is not None


def test_examples():
    assert doctest.testmod(captioner).failed == 0
