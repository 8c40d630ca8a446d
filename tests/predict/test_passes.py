"""The input step of ODIN: by hand, shared between step sizes, and of nothing."""

import numpy as np
import torch
from torch import Tensor, nn

from reprood.detectors import mahalanobis
from reprood.predict.feature_step import fit_gaussians, signs, stepped_scores
from reprood.predict.passes import perturb, run_passes


class Toy(nn.Module):
    """Images [B, 2, 4, 4] -> logits [B, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(32, 12), nn.Linear(12, 4)
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=10 + i))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images.flatten(1)).relu())


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


STD = torch.tensor([0.5, 0.25])


def test_the_step_follows_the_definition() -> None:
    images = normal(6, 2, 4, 4, seed=6).double()
    model = Toy().double().eval()
    leaf = images.clone().requires_grad_()
    values = model(leaf) / 1000
    loss = nn.functional.cross_entropy(values, values.argmax(1))  # batch mean: only rescales the gradient
    (gradient,) = torch.autograd.grad(loss, leaf)
    step = torch.where(gradient >= 0, 1.0, -1.0).double()
    (moved,) = perturb(model, images, STD, 1000.0, [0.01])
    torch.testing.assert_close(moved[:, 0], images[:, 0] - 0.01 * step[:, 0] / 0.5)
    torch.testing.assert_close(moved[:, 1], images[:, 1] - 0.01 * step[:, 1] / 0.25)
    (near,) = perturb(model, images, STD, 1000.0, [1e-5])
    before, after = (torch.softmax(model(x) / 1000, dim=1).amax(1) for x in (images, near))
    assert (after > before).all()


def test_zero_gradients_count_as_positive() -> None:
    assert signs(torch.tensor([0.0, -0.0, 2.0, -1e-40])).tolist() == [1, 1, 1, -1]


def test_a_step_of_nothing_changes_nothing() -> None:
    images = normal(3, 2, 4, 4)
    first, second = perturb(Toy().eval(), images, STD, 1.0, [0.0, 0.1])
    assert first is images
    assert not torch.equal(second, images)
    assert perturb(lambda x: x, images, STD, 1.0, [0.0, 0.0]) == [images, images]


def test_passes_with_one_temperature_share_a_gradient() -> None:
    """One forward and one backward pass per temperature and batch, one forward pass per step size."""
    model, calls = Toy().eval(), []

    def network(images: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return model(images)

    requests = {
        f"t{t}e{e}": {"kind": "odin", "temperature": t, "epsilon": e} for t in (1, 1000) for e in (0.1, 0.2, 0.3)
    }
    images = normal(10, 2, 4, 4)
    together = run_passes(network, images.split(5), STD, requests)
    assert calls.count(True) == 2 * 2
    assert calls.count(False) == 2 * 6
    for name, request in requests.items():
        alone = run_passes(model, images.split(5), STD, {name: request})
        assert torch.equal(together[name], alone[name])
        assert together[name].shape == (10, 4)


def test_the_mahalanobis_step_follows_the_definition() -> None:
    """Against the detector's own score; a zero gradient moves a pixel down, as in the authors' code."""
    train, labels = normal(60, 12, seed=3).double(), torch.arange(60) % 4
    gaussians = fit_gaussians(train, labels, 4)
    theirs = mahalanobis.fit(train.numpy(), labels.numpy(), 4)
    values = normal(9, 12, seed=4).double()
    np.testing.assert_allclose(gaussians.score(values), mahalanobis.score(values.numpy(), theirs), rtol=1e-9)

    body = Toy().double().eval().body
    images = normal(5, 2, 4, 4, seed=6).double()

    def features(shown: Tensor) -> Tensor:
        used = shown.clone()
        used[:, :, 0, 0] = 0  # a pixel without influence
        return body(used.flatten(1))

    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-gaussians.score(features(leaf)).sum(), leaf)
    moved = images - 0.01 * signs(gradient) / STD.view(1, 2, 1, 1)
    assert (moved[:, :, 0, 0] < images[:, :, 0, 0]).all()
    plain, stepped = stepped_scores(features, [images], STD, gaussians, [0.0, 0.01])
    torch.testing.assert_close(stepped[:, 0], gaussians.score(features(moved)).float())
    assert (stepped > plain).all()
    (wrong,) = stepped_scores(features, [images], torch.ones(2), gaussians, [0.01])
    assert not torch.equal(wrong, stepped)
