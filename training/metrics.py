"""Figures computed from embeddings. Embeddings are f32 [n, dim], labels i64 [n]."""

import math

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score


def knn_accuracy(queries, labels, bank, bank_labels, k=200, temperature=0.1):
    """Weighted k-nearest-neighbour accuracy by cosine, weights exp(cosine / temperature)
    (arXiv 1805.01978)."""
    queries, bank = F.normalize(queries, dim=1), F.normalize(bank, dim=1)
    classes = int(bank_labels.max()) + 1
    right = 0
    for part, truth in zip(queries.split(500), labels.split(500)):
        cosine, index = (part @ bank.T).topk(min(k, len(bank)), dim=1)
        votes = torch.zeros(len(part), classes, device=part.device)
        votes.scatter_add_(1, bank_labels[index], (cosine / temperature).exp())
        right += (votes.argmax(1) == truth).sum().item()
    return right / len(labels)


@torch.enable_grad()
def linear_probe_accuracy(queries, labels, bank, bank_labels, decay=1e-4, iterations=100):
    """Accuracy of multinomial logistic regression fitted on the bank with L-BFGS, each dimension
    standardised by the bank's mean and deviation; `decay` times half the squared weights is added."""
    mean, std = bank.mean(0), bank.std(0).clamp(min=1e-8)
    bank, queries = (bank - mean) / std, (queries - mean) / std
    classes = int(bank_labels.max()) + 1
    weight = torch.zeros(bank.shape[1], classes, device=bank.device, requires_grad=True)
    bias = torch.zeros(classes, device=bank.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        loss = F.cross_entropy(bank @ weight + bias, bank_labels) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        return ((queries @ weight + bias).argmax(1) == labels).float().mean().item()


def label_figures(queries, labels, bank, bank_labels):
    """kNN and linear probe accuracy as monitors give them; nothing where there is one class, which says nothing."""
    if len(torch.cat([labels, bank_labels]).unique()) < 2:
        return {}
    sets = queries, labels, bank, bank_labels
    return {"knn_accuracy": knn_accuracy(*sets), "linear_accuracy": linear_probe_accuracy(*sets)}


def same_class_share(queries, labels, bank, bank_labels, k, metric):
    """Share of each query's k nearest bank entries that are of its class, by `cosine` or `euclid`."""
    if metric == "cosine":
        queries, bank = F.normalize(queries, dim=1), F.normalize(bank, dim=1)
    squares = bank.square().sum(1)
    same = 0
    for part, truth in zip(queries.split(500), labels.split(500)):
        index = (2 * part @ bank.T - squares).topk(min(k, len(bank)), dim=1).indices
        same += (bank_labels[index] == truth[:, None]).sum().item()
    return same / (len(labels) * min(k, len(bank)))


def cluster_agreement(queries, labels, seed=0):
    """Adjusted Rand index of k-means, as many clusters as classes, with the classes: 0 by chance, 1 at
    best. The best of ten starts by k-means' own criterion."""
    means = KMeans(n_clusters=len(labels.unique()), n_init=10, random_state=seed)
    return float(adjusted_rand_score(labels.numpy(), means.fit_predict(queries.numpy())))


def active_units(mean):
    """The number of units whose means vary over data by more than 0.01 (arXiv 1509.00519, section 4)."""
    return int((mean.var(0) > 0.01).sum())


def kl_to_prior(mean, log_variance):
    """KL(q(z|x) || N(0, 1)) of each image and unit in nats, [n, units]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def mutual_information(mean, log_variance, seed=0):
    """I(x; z) in nats between n images and their latents: E KL(q(z|x) || p(z)) - KL(q(z) || p(z)), where
    q(z) is the mixture of all n posteriors. Both terms are estimated with the same sample of each
    posterior, so the prior cancels and most of the noise too. It cannot be more than log n, however
    much the latents tell."""
    mean, log_variance = mean.double(), log_variance.double()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    samples = mean + (log_variance / 2).exp() * noise
    own = -0.5 * (noise.square() + log_variance + math.log(2 * math.pi)).sum(1)
    aggregate = torch.cat([mixture_log_density(part, mean, log_variance) for part in samples.split(250)])
    return (own - aggregate).mean().item()


def mixture_log_density(points, mean, log_variance):
    """Log-density of points [k, units] under the even mixture of n diagonal Gaussians [n, units]."""
    precision = (-log_variance).exp()
    squares = (
        points.square() @ precision.T - 2 * points @ (mean * precision).T + (mean.square() * precision).sum(1)
    )
    constant = log_variance.sum(1) + mean.shape[1] * math.log(2 * math.pi)
    return (-0.5 * (squares + constant)).logsumexp(1) - math.log(len(mean))
