import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from training import metrics


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_kl_to_the_prior_is_that_of_torch_distributions():
    mean, log_variance = random(5, 3), random(5, 3, seed=1)
    wanted = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    assert torch.allclose(metrics.kl_to_prior(mean, log_variance), wanted, atol=1e-6)


def test_the_mixtures_density_is_that_of_torch_distributions():
    mean, log_variance, points = (random(n, 3, seed=s).double() for n, s in ((6, 0), (6, 1), (4, 2)))
    posteriors = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(6)), posteriors)
    got = metrics.mixture_log_density(points, mean, log_variance)
    assert torch.allclose(got, mixture.log_prob(points), atol=1e-6)


def test_latents_far_apart_tell_which_image_and_collapsed_ones_nothing():
    told = metrics.mutual_information(20 * random(50, 8), torch.full((50, 8), -4.0))
    assert math.isclose(told, math.log(50), abs_tol=1e-3)
    assert abs(metrics.mutual_information(torch.zeros(50, 8), torch.zeros(50, 8))) < 1e-9


def test_units_count_as_active_when_their_mean_varies():
    assert metrics.active_units(random(100, 5) * torch.tensor([1.0, 0.5, 0.2, 0.01, 0.0])) == 3


def test_clear_clusters_are_found_by_neighbours_probe_and_k_means():
    labels = torch.arange(3).repeat(40)
    points = torch.eye(3)[labels] * 10 + random(120, 3)
    bank, queries = slice(0, 90), slice(90, None)
    sets = points[queries], labels[queries], points[bank], labels[bank]
    assert metrics.knn_accuracy(*sets, k=10) == 1
    assert metrics.linear_probe_accuracy(*sets) == 1
    assert metrics.same_class_share(*sets, 5, "euclid") == 1
    assert metrics.cluster_agreement(points, labels) == 1
