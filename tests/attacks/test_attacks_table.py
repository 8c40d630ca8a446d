"""Attacks as a suite writes them, AutoAttack among them."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from reprood.attacks.options import Attack
from reprood.attacks.projected import attack_labels, fgsm
from reprood.attacks.table import run_attack
from reprood.core.errors import ReproodError

IMAGES = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
with_autoattack = pytest.mark.skipif(find_spec("pyautoattack") is None, reason="pyautoattack is not installed")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def network(classes: int = 5) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(216, classes))
    return model.eval()


def test_options_import_no_torch() -> None:
    code = "import reprood.attacks.options, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_defaults_are_the_usual_attack() -> None:
    attack = Attack()
    assert (attack.kind, attack.norm, attack.steps, attack.restarts, attack.loss) == ("pgd", "linf", 20, 1, "ce")
    assert attack.eps == pytest.approx(0.0313725, abs=1e-6)
    assert attack.step == pytest.approx(attack.eps / 4)


def test_cw_is_pgd_on_the_margin() -> None:
    attack = Attack(kind="cw")
    assert attack.loss == "margin"
    assert Attack.model_validate(attack.model_dump()) == attack
    with pytest.raises(ValidationError, match="use kind: pgd"):
        Attack(kind="cw", loss="ce")


def test_until_wrong_is_for_attacks_of_several_steps() -> None:
    assert Attack(kind="cw", until_wrong=True).until_wrong
    for kind in ("fgsm", "autoattack"):
        with pytest.raises(ValidationError, match=f"remove it from the attack {kind}"):
            Attack(kind=kind, until_wrong=True)


@pytest.mark.parametrize(
    "wrong", [{"eps": 8}, {"eps": -0.1}, {"eps": float("nan")}, {"step": 0}, {"steps": 0}, {"limit": 0}, {"size": 1}]
)
def test_options_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Attack(**wrong)
    assert Attack(norm="l2", eps=8).eps == 8


def test_every_kind_is_what_it_says() -> None:
    model, labels = network(), torch.arange(12) % 5
    given = {"eps": 0.1, "step": 0.03, "steps": 3}
    pgd = attack_labels(model, IMAGES, labels, generator=seeded(), restarts=2, norm="l2", **given)
    options = Attack(kind="pgd", norm="l2", restarts=2, **given)
    assert torch.equal(run_attack(options, model, IMAGES, labels, seeded()), pgd)
    clipped = attack_labels(model, IMAGES, labels, generator=seeded(), clip_start=True, **given)
    assert torch.equal(run_attack(Attack(clip_start=True, **given), model, IMAGES, labels, seeded()), clipped)
    cw = attack_labels(model, IMAGES, labels, generator=seeded(), loss="margin", **given)
    assert torch.equal(run_attack(Attack(kind="cw", **given), model, IMAGES, labels, seeded()), cw)

    def objective(changed: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(changed), labels, reduction="sum")

    for norm in ("linf", "l2"):
        single = fgsm(objective, IMAGES, eps=0.1, norm=norm)
        assert torch.equal(run_attack(Attack(kind="fgsm", norm=norm, eps=0.1), model, IMAGES, labels, seeded()), single)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["fgsm", "pgd", "cw"])
def test_a_broken_network_is_not_called_robust(kind: str, norm: str) -> None:
    def classify(images: Tensor) -> Tensor:
        """Finite logits whose gradient is not: the root of 0."""
        return (images * 0).sqrt().flatten(1)[:, :3] + images.flatten(1)[:, :3]

    assert torch.isfinite(classify(IMAGES)).all()
    with pytest.raises(ReproodError, match="not finite"):
        run_attack(Attack(kind=kind, norm=norm), classify, IMAGES, torch.zeros(12).long(), seeded())


def test_autoattack_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(ReproodError, match="pyautoattack, which is not installed"):
        run_attack(Attack(kind="autoattack"), network(), IMAGES, torch.zeros(12).long(), seeded())


@with_autoattack
@pytest.mark.slow
def test_autoattack_is_no_weaker_than_pgd() -> None:
    model = network()
    labels = model(IMAGES).argmax(1)
    model[-1].weight.grad = torch.ones_like(model[-1].weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state, tracer = torch.get_rng_state(), sys.gettrace()
    for norm, eps in (("linf", 0.04), ("l2", 0.25)):
        pgd = run_attack(Attack(norm=norm, eps=eps, step=eps / 4), model, IMAGES, labels, seeded())
        found = run_attack(Attack(kind="autoattack", norm=norm, eps=eps), model, IMAGES, labels, seeded())
        again = run_attack(Attack(kind="autoattack", norm=norm, eps=eps), model, IMAGES, labels, seeded())
        assert torch.equal(found, again)
        robust, robust_pgd = ((model(changed).argmax(1) == labels).float().mean() for changed in (found, pgd))
        assert 0 < robust <= robust_pgd
        moved = (found - IMAGES).flatten(1).norm(dim=1, p={"linf": torch.inf, "l2": 2}[norm])
        assert moved.max() <= eps * (1 + 1e-5)
        assert found.min() >= 0
        assert found.max() <= 1
    assert torch.equal(torch.get_rng_state(), state)
    assert sys.gettrace() is tracer
    assert torch.equal(model[-1].weight.grad, torch.ones_like(model[-1].weight))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "4.weight")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@with_autoattack
def test_autoattack_needs_four_classes() -> None:
    with pytest.raises(ReproodError, match="at least 4 classes"):
        run_attack(Attack(kind="autoattack"), network(3), IMAGES, torch.zeros(12).long(), seeded())


@with_autoattack
def test_autoattack_of_radius_zero() -> None:
    labels = torch.zeros(12).long()
    assert torch.equal(run_attack(Attack(kind="autoattack", eps=0), network(), IMAGES, labels, seeded()), IMAGES)
