import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")
F = torch.nn.functional

from training import losses
from training.momentum import MomentumEncoder, Queue


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_info_nce_is_what_a_hand_computes():
    first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 2.0], [0.0, 3.0]])
    # Cosines: the first image's views are orthogonal, the second's are equal, temperature 1/2.
    e = math.exp
    image_1_view_1 = -math.log(e(0) / (e(0) + e(0) + e(0)))
    image_1_view_2 = -math.log(e(0) / (e(0) + e(2) + e(2)))
    image_2 = -math.log(e(2) / (e(0) + e(2) + e(2)))
    wanted = (image_1_view_1 + image_1_view_2 + 2 * image_2) / 4
    assert math.isclose(losses.info_nce(first, second, 0.5).item(), wanted, rel_tol=1e-6)


def test_a_queue_of_the_batchs_other_keys_gives_in_batch_info_nce():
    queries, keys = random(1, 8), random(1, 8, seed=1)
    others = F.normalize(random(5, 8, seed=2), dim=1)
    logits = torch.cat([F.cosine_similarity(queries, keys)[:, None], F.normalize(queries, dim=1) @ others.T], 1)
    wanted = -(logits / 0.2).log_softmax(1)[0, 0]
    assert torch.isclose(losses.queue_info_nce(queries, keys, others, 0.2), wanted)


def test_byol_is_zero_for_equal_directions_and_four_for_opposite_ones():
    views = random(4, 8)
    assert losses.byol(views, 3 * views).abs() < 1e-6
    assert (losses.byol(views, -views) - 4).abs() < 1e-6


def test_sinkhorn_gives_each_image_one_and_each_prototype_the_same():
    plan = losses.sinkhorn(random(24, 6).clamp(-1, 1), epsilon=0.5, rounds=50)
    assert torch.allclose(plan.sum(1), torch.ones(24), atol=1e-5)
    assert torch.allclose(plan.sum(0), torch.full((6,), 4.0), atol=1e-4)


def test_vicreg_is_its_three_terms():
    first, second = random(64, 3), random(64, 3, seed=1)
    invariance = (first - second).square().mean()
    assert torch.isclose(losses.vicreg(first, second, (1, 0, 0)), invariance)
    hinges = [F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2 for z in (first, second)]
    assert torch.isclose(losses.vicreg(first, second, (0, 1, 0)), sum(hinges))
    covariances = [torch.cov(z.T) for z in (first, second)]
    wanted = sum((c.square().sum() - c.diagonal().square().sum()) / 3 for c in covariances)
    assert torch.isclose(losses.vicreg(first, second, (0, 0, 1)), wanted)


def test_an_ema_encoder_moves_by_the_complement_of_its_momentum_and_takes_no_gradient():
    leader = torch.nn.Linear(3, 2)
    average = MomentumEncoder(leader)
    before = average.network.weight.clone()
    with torch.no_grad():
        leader.weight += 1
    average.update(leader, 0.75)
    assert torch.allclose(average.network.weight, before + 0.25)
    assert not average(random(4, 3)).requires_grad


def test_a_queue_replaces_its_oldest_keys():
    queue = Queue(4, 2)
    batches = [F.normalize(random(2, 2, seed=s), dim=1) for s in range(3)]
    for batch in batches:
        queue.push(batch)
    assert torch.allclose(queue.keys, torch.cat([batches[2], batches[1]]), atol=1e-6)
