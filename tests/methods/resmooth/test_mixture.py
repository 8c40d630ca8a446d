"""The mixture of two Gaussians: ReSmooth's reference values, scikit-learn from the same start, exact splits."""

import warnings

import golden_files
import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from reprood.core.errors import ReproodError
from reprood.methods.resmooth.method import log_losses
from reprood.methods.resmooth.mixture import Mixture, best_split, bic_of_one, fit_mixture


def sample(seed: int = 0, apart: float = 4.0, count: int = 400) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.concatenate([rng.normal(-apart, 1.2, count), rng.normal(0, 0.6, count // 2)]))


@pytest.mark.golden
def test_reference() -> None:
    arrays = golden_files.load("resmooth", "gmm_split")
    for case in range(int(arrays["n_cases"])):
        get = {key.removeprefix(f"c{case}_"): value for key, value in arrays.items() if key.startswith(f"c{case}_")}
        labels, batch = torch.from_numpy(get["y"]), int(get["batch"].item())
        weak, strong = (log_losses(torch.from_numpy(get[f"logits_{view}"]), labels) for view in ("ori", "aug"))
        parts = zip(torch.split(weak, batch), torch.split(strong, batch), strict=True)
        pooled = torch.cat([view for part in parts for view in part])
        # a loss close to 0 is 1 minus a number in single precision: its logarithm depends on the processor
        np.testing.assert_allclose(np.exp(pooled.numpy()), np.exp(get["loglosses"]), rtol=1e-5, atol=4e-7)
        # the mixture is therefore compared on the reference's own logarithms, which hold both views batch by batch
        given = torch.from_numpy(get["loglosses"])
        halves = given.split([size for part in torch.split(weak, batch) for size in (len(part), len(part))])
        mixture = fit_mixture(given)
        assert mixture.means[0] < mixture.means[1]
        if not int(get["unambiguous"].item()):
            continue
        near = 1e-5 + 1.5 * float(get["spread_means"].item())
        near_p = 1e-5 + 1.5 * float(get["spread_post"].item())
        np.testing.assert_allclose(mixture.means, get["means"], rtol=0, atol=near)
        np.testing.assert_allclose(mixture.variances, get["vars"], rtol=0, atol=near)
        np.testing.assert_allclose(mixture.weights, get["weights"], rtol=0, atol=near)
        p = mixture.posterior(torch.cat(halves[1::2])[:64]).numpy()
        np.testing.assert_allclose(p, get["p_id_aug64"], rtol=0, atol=near_p)
        close = int((np.abs(p - 0.5) <= near_p).sum())
        assert abs(int((p >= 0.5).sum()) - int(get["n_id64"].item())) <= close


@pytest.mark.parametrize("apart", [1.0, 2.0, 6.0])
@pytest.mark.parametrize(("rounds", "tolerance"), [(10, 1e-2), (3, 0.0), (200, 1e-9)])
def test_equals_scikit_learn_from_the_same_start(apart, rounds, tolerance) -> None:
    values = sample(1, apart)
    upper = best_split(values)
    groups = [values[~upper], values[upper]]
    reference = GaussianMixture(
        2,
        max_iter=rounds,
        tol=tolerance,
        reg_covar=5e-4,
        weights_init=[len(group) / len(values) for group in groups],
        means_init=[[float(group.mean())] for group in groups],
        precisions_init=[[[1 / (float(group.var(correction=0)) + 5e-4)]] for group in groups],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        reference.fit(values.numpy()[:, None])
    ours = fit_mixture(values, rounds=rounds, tolerance=tolerance)
    np.testing.assert_allclose(ours.means, reference.means_[:, 0], rtol=1e-9)
    np.testing.assert_allclose(ours.variances, reference.covariances_[:, 0, 0], rtol=1e-9)
    np.testing.assert_allclose(ours.weights, reference.weights_, rtol=1e-9)
    posterior = reference.predict_proba(values.numpy()[:, None])[:, 0]
    np.testing.assert_allclose(ours.posterior(values), posterior, rtol=0, atol=1e-9)
    assert ours.bic(values) == pytest.approx(reference.bic(values.numpy()[:, None]))
    one = GaussianMixture(1, reg_covar=5e-4).fit(values.numpy()[:, None])
    assert bic_of_one(values) == pytest.approx(one.bic(values.numpy()[:, None]))


@pytest.mark.parametrize("seed", range(6))
def test_best_split_against_all_splits(seed) -> None:
    values = torch.randint(-4, 9, (15,), generator=torch.Generator().manual_seed(seed)).double()
    cost = {}
    for threshold in values.unique()[:-1].tolist():
        parts = (values[values <= threshold], values[values > threshold])
        cost[threshold] = sum(float((part - part.mean()).square().sum()) for part in parts)
    chosen = best_split(values)
    assert torch.equal(chosen, values > float(values[~chosen].max()))
    assert cost[float(values[~chosen].max())] == pytest.approx(min(cost.values()))


def test_order_of_the_values_does_not_matter() -> None:
    values = sample(2)
    ours, other = fit_mixture(values), fit_mixture(values.flip(0))
    np.testing.assert_allclose(ours.means, other.means, rtol=1e-12)
    np.testing.assert_allclose(ours.variances, other.variances, rtol=1e-12)


def test_two_components_fit_better_only_where_there_are_two() -> None:
    values = sample(3)
    assert fit_mixture(values).bic(values) < bic_of_one(values)
    single = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert fit_mixture(single).bic(single) > bic_of_one(single)


def test_posterior_is_not_monotone_with_a_broad_first_component() -> None:
    mixture = Mixture((-4.0, 0.0), (9.0, 0.1), (0.8, 0.2))
    p = mixture.posterior(torch.tensor([-10.0, 0.0, 5.0]))
    assert p[0] > 0.99
    assert p[1] < 0.5
    assert p[2] > 0.99


def test_collapse_is_noticed() -> None:
    assert not fit_mixture(sample()).collapsed
    narrow = torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert fit_mixture(torch.cat((narrow, torch.full((3,), -23.03)))).collapsed


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [1.0, float("nan"), 2.0], [1.0, float("inf")]], ids=str)
def test_bad_input(values) -> None:
    with pytest.raises(ReproodError, match="finite values that differ"):
        fit_mixture(torch.tensor(values))
