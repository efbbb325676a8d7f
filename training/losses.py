"""Losses of contrastive and related methods, as functions of projections f32 [n, dim]."""

import torch
import torch.nn.functional as F


def info_nce(first, second, temperature):
    """NT-Xent, equation 1 of SimCLR (arXiv 2002.05709): each of the 2n projections must find its other
    view among the 2n - 1 others. Mean over all 2n, in nats."""
    both = F.normalize(torch.cat([first, second]).float(), dim=1)
    n = len(first)
    similarity = both @ both.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * n, device=both.device).roll(n)
    return F.cross_entropy(similarity, partner)


def queue_info_nce(queries, keys, queue, temperature):
    """InfoNCE with negatives from a queue, equation 1 of MoCo (arXiv 1911.05722): each query must find
    its key among the key and the queue [k, dim], whose rows have length 1. Mean, in nats."""
    queries, keys = F.normalize(queries.float(), dim=1), F.normalize(keys.float(), dim=1)
    right = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([right, queries @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long, device=queries.device))


def byol(predictions, targets):
    """2 - 2 cosine, equation 2 of BYOL (arXiv 2006.07733); mean over images."""
    return 2 - 2 * F.cosine_similarity(predictions.float(), targets.float(), dim=1).mean()


@torch.no_grad()
def sinkhorn(scores, epsilon, rounds):
    """Soft assignments [n, prototypes] that give every prototype the same share of the batch, section
    3.1 of SwAV (arXiv 2006.09882): exp(scores / epsilon), columns and rows scaled in turn. Rows sum
    to 1; columns to n / prototypes, the more exactly the more rounds there are."""
    plan = ((scores - scores.max()) / epsilon).exp().float()
    plan /= plan.sum()
    for _ in range(rounds):
        plan /= plan.sum(0, keepdim=True) * plan.shape[1]
        plan /= plan.sum(1, keepdim=True) * plan.shape[0]
    return plan * plan.shape[0]


def swap(assignments, scores, temperature):
    """Cross-entropy of one view's assignments and the other's prototype scores, equation 2 of SwAV."""
    return -(assignments * F.log_softmax(scores.float() / temperature, dim=1)).sum(1).mean()


def vicreg(first, second, weights):
    """Variance, invariance and covariance, equations 1 to 6 of VICReg (arXiv 2105.04906); `weights` are
    those of invariance, variance and covariance (the paper: 25, 25, 1)."""
    first, second = first.float(), second.float()
    invariance = F.mse_loss(first, second)
    variance = sum(F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() for z in (first, second))
    covariance = sum(off_diagonal_squares(z) for z in (first, second))
    return weights[0] * invariance + weights[1] * variance / 2 + weights[2] * covariance


def off_diagonal_squares(projections):
    """Sum of the squared covariances between different dimensions, over the number of dimensions."""
    n, dim = projections.shape
    centred = projections - projections.mean(0)
    squares = (centred.T @ centred / (n - 1)).square()
    return (squares.sum() - squares.diagonal().sum()) / dim
