"""Methods for large images: training on windows, tests on the centre, otherwise the methods that they extend."""

from dataclasses import replace

import pytest
import torch
from tiny_problem import Net, problem, run
from torch import Tensor

from reprood.core.errors import ReproodError
from reprood.engine.batches import Batch
from reprood.engine.training import Training
from reprood.methods import cutmix, localiser, ss_one_class, ss_one_class_crops
from reprood.nets import localising_resnet
from reprood.nets.localising import centre_crop

SHORT = Training(epochs=2, batch_size=16, lr=0.05, augment="flip")


class Seen(Net):
    """Records the sides of its images."""

    def __init__(self, crop: int | None = None) -> None:
        super().__init__()
        self.crop, self.sides = crop, set[tuple[bool, int]]()

    def forward(self, images: Tensor) -> Tensor:
        images = centre_crop(images, self.crop)
        self.sides.add((self.training, images.shape[2]))
        return super().forward(images)


@pytest.mark.parametrize("mix", ["plain", "cutmix", "mixup", "cutout"])
def test_a_localiser_trains_on_windows_of_the_network_s_crop(tmp_path, mix) -> None:
    networks: list[Seen] = []

    def backbone() -> Seen:
        networks.append(Seen(crop=6))
        return networks[-1]

    config = localiser.Config(training=SHORT, mix=mix, pretrained=False)
    model, rows = localiser.train(replace(problem(48), backbone=backbone), config, run(tmp_path))
    assert networks[0].sides == {(True, 6), (False, 6)}
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert "test_error" in rows[-1]


def test_a_localiser_mixes_every_batch_as_the_method_cutmix() -> None:
    images = torch.randn(6, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)
    for mix in ("cutmix", "mixup", "cutout", "plain"):
        batch, same = (Batch(images, labels, labels, torch.Generator().manual_seed(3), 0, 0, 0.0) for _ in range(2))
        ours = localiser.mixed(batch, localiser.Config(mix=mix, alpha=0.4, cutout_size=10))
        if mix == "plain":
            assert ours[0] is images
            assert ours[1:] == (None, 1.0)
            continue
        theirs = cutmix.mix_batch(same, cutmix.Config(mix=mix, probability=1, alpha=0.4, cutout_size=10))
        assert torch.equal(ours[0], theirs[0])
        assert ours[2] == theirs[2]
        assert not torch.equal(ours[0], images)


def test_weights_of_imagenet_are_asked_for_by_name(tmp_path) -> None:
    with pytest.raises(ReproodError, match="There are no ImageNet weights for the network Seen"):
        localiser.train(replace(problem(48), backbone=Seen), localiser.Config(training=SHORT), run(tmp_path))
    assert localising_resnet.build(3).torchvision_model == "resnet50"


def test_crops_of_the_whole_image_are_the_method_without_crops(tmp_path) -> None:
    training = SHORT.model_copy(update={"augment": "none"})
    task = problem(24, classes=1)
    plain = ss_one_class.Config(training=training)
    crops = ss_one_class_crops.Config(training=training, crop=8)
    ours, our_rows = ss_one_class_crops.train(task, crops, run(tmp_path / "a"))
    theirs, their_rows = ss_one_class.train(task, plain, run(tmp_path / "b"))
    assert our_rows == their_rows
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_crops_are_trained_on_and_the_centre_is_scored(tmp_path) -> None:
    networks: list[Seen] = []

    def backbone() -> Seen:
        networks.append(Seen())
        return networks[-1]

    task = replace(problem(24, size=12, classes=1), backbone=backbone)
    config = ss_one_class_crops.Config(training=SHORT, crop=8, sampling="random")
    model, _ = ss_one_class_crops.train(task, config, run(tmp_path))
    assert networks[0].sides == {(True, 8), (False, 8)}
    images = torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    found = ss_one_class_crops.scores(model, images, config, {})["transformations"]
    expected = ss_one_class.scores(model, images[:, :, 2:10, 2:10], config, {})["transformations"]
    assert torch.equal(found, expected)
    assert torch.equal(model.features(images), model.features(images[:, :, 2:10, 2:10]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"outlier_weight": 0.5}, "there are no outliers here"), ({"training": {"augment": "crop"}}, "flip or none")],
)
def test_settings_that_do_not_apply_are_refused(settings, words) -> None:
    with pytest.raises(ValueError, match=words):
        ss_one_class_crops.Config.model_validate(settings)
