"""Figures computed from embeddings. Embeddings are f32 [n, dim], labels i64 [n]."""

import torch
import torch.nn.functional as F


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


def linear_probe_accuracy(queries, labels, bank, bank_labels, decay=1e-4, iterations=100):
    """Accuracy of multinomial logistic regression fitted on the bank with L-BFGS, each dimension
    standardised by the bank's mean and deviation; `decay` times half the squared weights is added."""
    mean, std = bank.mean(0), bank.std(0).clamp(min=1e-8)
    bank, queries = (bank - mean) / std, (queries - mean) / std
    weight = torch.zeros(bank.shape[1], int(bank_labels.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
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


def same_class_share(queries, labels, bank, bank_labels, k, metric):
    """Share of each query's k nearest bank entries that are of its class, by `cosine` or `euclid`."""
    if metric == "cosine":
        queries, bank = F.normalize(queries, dim=1), F.normalize(bank, dim=1)
    squares = bank.square().sum(1)
    same = 0
    for part, truth in zip(queries.split(500), labels.split(500)):
        index = (2 * part @ bank.T - squares).topk(k, dim=1).indices
        same += (bank_labels[index] == truth[:, None]).sum().item()
    return same / (len(labels) * k)
