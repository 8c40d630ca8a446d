"""Networks for localisation: maps of 1/16, published weights, the middle of cropped images."""

import pytest
import torch

from reprood.core.errors import ReproodError
from reprood.engine.seeds import seeded
from reprood.nets import imagenet_resnet, localising_resnet, resnet_grid, vgg_gap
from reprood.nets.imagenet_weights import Pretrainable
from reprood.nets.localising import centre_crop


@pytest.mark.parametrize(
    ("module", "options", "width"),
    [
        (localising_resnet, {"depth": 50, "base": 4}, 128),
        (localising_resnet, {"depth": 18, "base": 1}, 8),
        (vgg_gap, {"base": 2}, 32),
    ],
)
def test_maps_have_a_sixteenth_of_the_side(module, options, width) -> None:
    network = module.build(3, **options).eval()
    with torch.no_grad():
        assert network.maps(torch.zeros(1, 3, 224, 224)).shape == (1, width, 14, 14)


def test_weights_of_the_usual_resnet_fit_and_only_the_last_stage_differs() -> None:
    torchvision = pytest.importorskip("torchvision.models")
    with seeded(0):
        theirs = torchvision.resnet50(weights=None).eval()
    ours = localising_resnet.build(3, depth=50).eval()
    assert isinstance(ours, Pretrainable)
    ours.load_torchvision(theirs.state_dict())
    for module in (theirs.layer4[0].conv2, theirs.layer4[0].downsample[0]):
        module.stride = (1, 1)
    theirs.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
    usual = imagenet_resnet.build(3, depth=50)
    assert usual.state_dict().keys() == ours.state_dict().keys()


def test_convolutions_of_vgg_16_fit() -> None:
    vgg = pytest.importorskip("torchvision.models.vgg")
    with seeded(0):
        theirs = vgg.make_layers(vgg.cfgs["D"])[:30]  # without the last pooling
    ours = vgg_gap.build(3)
    assert isinstance(ours, Pretrainable)
    assert ours.width == 1024
    state = {f"features.{key}": value for key, value in theirs.state_dict().items()}
    ours.load_torchvision({**state, "classifier.0.weight": torch.zeros(1)})
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torch.relu(ours.last(theirs(images)))
        torch.testing.assert_close(ours.maps(images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ReproodError, match="do not fit the network vgg_gap with 1 channels"):
        vgg_gap.build(1).load_torchvision(state)


@pytest.mark.parametrize(("module", "options"), [(localising_resnet, {"depth": 18, "base": 4}), (vgg_gap, {"base": 2})])
def test_a_cropped_image_has_the_maps_of_its_middle(module, options) -> None:
    with seeded(0):
        whole = module.build(3, **options).eval()
    cropped = module.build(3, crop=64, **options).eval()
    cropped.load_state_dict(whole.state_dict())
    images = torch.randn(2, 3, 80, 80, generator=torch.Generator().manual_seed(1))
    middle = images[:, :, 8:72, 8:72]
    with torch.no_grad():
        maps = cropped.maps(images)
        assert torch.equal(maps, whole.maps(middle))
        assert torch.equal(cropped(images), whole(middle))
        torch.testing.assert_close(cropped(images), maps.mean(dim=(2, 3)))
        assert torch.equal(cropped.maps(middle), maps)


def test_a_grid_keeps_the_means_of_its_cells() -> None:
    """The published network for Tiny ImageNet has 8,192 features and 25,147,145 parameters with its head."""
    network = resnet_grid.build(3)
    assert network.width == 8192
    assert sum(p.numel() for p in network.parameters()) + 201 * (8192 + 1) == 25_147_145
    small = resnet_grid.build(3, depth=10, base=4).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = small.body.maps(images)
        expected = torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)
        torch.testing.assert_close(small(images), expected)
        with pytest.raises(ReproodError, match="maps of 5 x 5 positions cannot be divided into a grid of 2 x 2"):
            small(images[:, :, :40, :40])


@pytest.mark.parametrize(("size", "words"), [(8, "cannot be cut out"), (5, "an even number more")])
def test_centres_that_do_not_exist_are_refused(size, words) -> None:
    with pytest.raises(ReproodError, match=words):
        centre_crop(torch.zeros(1, 1, 6, 6), size)
