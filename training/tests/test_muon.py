import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")

from training.muon import Muon, orthogonalise


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_an_update_has_singular_values_near_one_whatever_its_shape():
    for shape in ((8, 8), (4, 20), (20, 4)):
        values = torch.linalg.svdvals(orthogonalise(random(*shape), rounds=6))
        assert values.min() > 0.5 and values.max() < 1.5


def test_vectors_are_stepped_as_adam_does():
    mine, theirs = (torch.nn.Parameter(random(5)) for _ in range(2))
    optimisers = Muon([{"params": [mine], "lr": 0.1}]), torch.optim.Adam([theirs], lr=0.1)
    for step in range(5):
        for parameter, optimiser in zip((mine, theirs), optimisers):
            parameter.grad = random(5, seed=step)
            optimiser.step()
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_a_least_squares_problem_is_solved():
    weight = torch.nn.Parameter(torch.zeros(3, 6))
    inputs, wanted = random(50, 6), random(3, 6, seed=1)
    optimiser = Muon([{"params": [weight], "orthogonal": True}])
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        loss = (inputs @ (weight - wanted).T).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.allclose(weight, wanted, atol=0.02)
