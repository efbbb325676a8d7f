import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")

from training.masked import normalise_patches, random_masks
from training.transformer import MaskedTransformer, Shape


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MaskedTransformer(Shape(16, 4, 3), dim=16, depth=2, heads=2, decoder_dim=8, decoder_depth=1).eval()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(seed=0):
    return torch.rand(3, 3, 16, 16, generator=generator(seed))


def test_patches_go_row_by_row_and_come_back(network):
    original = images()
    patches = network.patches(original)
    assert torch.equal(patches[:, 1].reshape(3, 3, 4, 4), original[:, :, :4, 4:8])
    assert torch.equal(network.image(patches), original)


def test_hidden_pixels_cannot_change_the_image(network):
    mask = random_masks(3, 16, 0.5, generator())
    other = network.image(
        torch.where(mask[..., None] > 0.5, network.patches(images(1)), network.patches(images()))
    )
    assert not torch.equal(other, images())
    with torch.no_grad():
        assert torch.equal(network(images(), mask), network(other, mask))


def test_visible_patches_pass_through_unchanged(network):
    mask = random_masks(3, 16, 0.5, generator())
    with torch.no_grad():
        completed = network(images(), mask)
    shown = mask[..., None] < 0.5
    assert torch.equal(network.patches(completed) * shown, network.patches(images()) * shown)


def test_dropping_hidden_patches_and_masking_attention_agree(network):
    mask = random_masks(3, 16, 0.75, generator())
    with torch.no_grad():
        dropped = network.decode(network.encode_visible(images(), mask, 4), mask)
        masked = network.decode(network.encode(images(), mask), mask)
    assert torch.allclose(dropped, masked, atol=1e-5)


def test_any_number_may_be_hidden_of_each_image_all_and_none_too(network):
    mask = torch.stack([torch.ones(16), torch.zeros(16), (torch.arange(16) < 5).float()])
    with torch.no_grad():
        completed = network(images(), mask)
        alone = network(images()[:1], mask[:1])
    assert completed.isfinite().all() and completed.min() >= 0 and completed.max() <= 1
    assert torch.equal(completed[1], images()[1])
    assert torch.allclose(completed[:1], alone, atol=1e-6)


def test_masks_hide_the_same_number_in_every_row():
    assert random_masks(7, 64, 0.75, generator()).sum(1).eq(48).all()


def test_normalised_patches_have_mean_0_and_variance_1():
    patches = normalise_patches(torch.rand(2, 5, 48, generator=generator()))
    assert patches.mean(-1).abs().max() < 1e-5
    assert (patches.var(-1) - 1).abs().max() < 1e-3
