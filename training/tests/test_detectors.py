import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")

from training import augment, completion, defects, export, memory, objective, recipes, sets, unet

SMALL = {"network": {"width": 4, "deepest": 8}, "side": 32}


def built(name, **changes):
    torch.manual_seed(0)
    return objective.build(recipes.recipe(name, recipes.merged(SMALL, changes))).eval()


def test_the_focal_loss_is_the_cross_entropy_made_small_where_the_network_is_sure():
    logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0])
    p = torch.sigmoid(logits)
    assert torch.allclose(defects.focal(logits, labels), ((1 - p) ** 2 * -p.log()).mean())
    assert torch.allclose(defects.focal(logits, labels, gamma=0), (-p.log()).mean())


def test_the_dice_loss_is_that_of_the_images_with_a_defect():
    labels = torch.zeros(2, 1, 4, 4)
    labels[0, 0, 0] = 1
    right = torch.where(labels > 0, 50.0, -50.0)
    assert defects.soft_dice(right, labels) < 1e-6
    # the prediction for the normal image does not count
    assert torch.equal(defects.soft_dice(torch.cat([right[:1], right[1:] + 100]), labels), defects.soft_dice(right, labels))
    assert defects.soft_dice(torch.zeros_like(labels), labels) > 0.5
    assert defects.soft_dice(right[1:], labels[1:]) == 0


@torch.no_grad()
def test_the_network_takes_any_sides_that_are_multiples_of_16():
    network = unet.UNet(1, 1, 4, 8).eval()
    for sides in ((16, 16), (48, 32), (16, 80)):
        assert network(torch.rand(2, 1, *sides)).shape == (2, 1, *sides)


@torch.no_grad()
def test_another_exposure_of_an_image_has_much_the_same_map():
    model = built("tile-defects")
    image = torch.rand(1, 1, 32, 32) * 0.4 + 0.3
    logits = [model.logits(image * gain) for gain in (0.8, 1.25)]
    assert (logits[0] - logits[1]).abs().max() < 0.5 * logits[0].std()


@torch.no_grad()
def test_the_score_is_low_on_the_images_that_it_was_settled_with_and_grows_with_a_defect():
    pooled, generator = unet.Pooled(), torch.Generator().manual_seed(0)
    normal = torch.randn(20, 1, 32, 32, generator=generator) - 4
    pooled.settle(normal)
    assert torch.allclose(pooled.pooled(normal).mean(0), pooled.mean, atol=1e-5)
    odd = normal.clone()
    odd[:, :, 8:12, 8:12] += 8
    assert (pooled(odd) > pooled(normal)).all() and (pooled(normal) > 0).all()
    # of a map that is the same everywhere, windows of every size have the same mean
    assert torch.allclose(pooled.pooled(torch.full((1, 1, 16, 48), 2.0)), torch.tensor(2.0))


@torch.no_grad()
def test_a_map_is_made_of_the_image_and_its_mirror_images_and_of_no_other_image():
    model, image = built("tile-defects"), torch.rand(2, 1, 32, 48)
    views = [model.logits(image.flip(axes)).flip(axes) for axes in ((), (3,), (2,))]
    score, map_ = model.detector(image)
    assert torch.allclose(map_, torch.sigmoid(sum(views) / 3), atol=1e-5) and score.shape == (2,)
    assert torch.allclose(model.detector(image[1:])[1], map_[1:], atol=1e-5)


@torch.no_grad()
def test_hidden_pixels_do_not_reach_their_own_prediction():
    network = built("tile-mae").network
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 32, 32, generator=generator)
    mask = (torch.rand(2, network.count, generator=generator) < 0.5).float()
    hidden = network.pixels_of(mask)
    other = torch.where(hidden > 0, torch.rand_like(image), image)
    first, second = network(image, mask), network(other, mask)
    assert torch.equal(first, second)
    assert torch.equal(first * (1 - hidden), image * (1 - hidden))


@torch.no_grad()
def test_any_number_of_patches_may_be_hidden_all_of_them_too():
    network = built("tile-mae").network
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(network(image, torch.zeros(1, network.count)), image)
    assert network(image, torch.ones(1, network.count)).isfinite().all()


@torch.no_grad()
def test_the_error_of_a_pixel_is_that_under_the_mask_which_hides_it_and_an_odd_patch_stands_out():
    model = built("tile-mae", margin=0.0)
    masks = completion.complementary(model.network.count, 0.5)
    assert torch.equal(masks.sum(0), torch.ones(model.network.count)) and len(masks) == 2
    assert len(completion.complementary(16, 0.3)) == 4
    (graph,) = model.graphs()
    image = torch.rand(2, 1, 32, 32) * 0.1 + 0.4
    score, map_ = graph.module(image)
    assert torch.allclose(map_.clamp(min=1e-9).log().mean((1, 2, 3)), torch.zeros(2), atol=0.3)
    image[1, :, 10:14, 10:14] = 1
    again, odd = graph.module(image)
    assert torch.allclose(again[0], score[0]) and again[1] > score[1]
    assert odd[1, 0, 10:14, 10:14].mean() > 3 * odd[1].mean()


@torch.no_grad()
def test_a_margin_of_the_map_says_nothing():
    (graph,) = built("tile-mae", margin=0.1).graphs()
    _, map_ = graph.module(torch.rand(1, 1, 32, 32))
    assert not map_[..., :3, :].any() and not map_[..., -3:].any() and map_[..., 3:-3, 3:-3].all()


def test_gradients_are_compared_about_hidden_places_alone():
    image, where = torch.rand(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    other = image.clone()
    other[..., 12:, 12:] += 0.5
    where[..., :4, :4] = 1
    assert completion.gradient_difference(image, other, where) == 0
    assert completion.gradient_difference(image, other, torch.ones_like(where)) > 0


@torch.no_grad()
def test_a_coreset_takes_one_of_each_cluster_before_a_second():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 10, generator=generator) * 20
    points = centres.repeat(30, 1) + 0.1 * torch.randn(180, 10, generator=generator)
    chosen = memory.coreset(points, 6, generator)
    assert sorted(int(index) % 6 for index in chosen) == list(range(6))
    assert len(memory.coreset(points[:4], 10, generator)) == 4


@torch.no_grad()
def test_a_memory_knows_the_patches_of_the_images_that_it_was_made_of():
    model = built("memory", channels="gray", coreset={"count": 64, "candidates": 1000})
    train = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    model.finish(train)
    features = model.encoder(train.float() / 255)
    assert features.shape == (4, model.encoder.dim, 4, 4)
    patches = features.permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.cdist(patches, model.memory).min(1).values.max() < 1e-2
    assert torch.allclose(model.encoder.levels(train.float() / 255)[0].norm(dim=1).mean(), model.encoder.scales[0])


def test_a_view_is_a_part_of_its_image_at_most_so_much_larger_and_light_changes_no_place():
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 32).expand(8, 1, 32, 32)
    view = augment.zoom_and_flip(ramp, generator, 1.4, 32)
    span = view.amax((1, 2, 3)) - view.amin((1, 2, 3))
    assert view.shape == ramp.shape and (span >= 1 / 1.4 - 0.05).all() and (span < 1.001).all()
    assert torch.allclose(augment.zoom_and_flip(ramp, generator, 1.0, 32).sort(3).values, ramp, atol=1e-5)
    assert augment.zoom_and_flip(ramp, generator, 1.0, 16).shape == (8, 1, 16, 16)
    light = augment.relight(ramp * 0.5, generator, 0.0)
    assert torch.allclose(light, (ramp * 0.5).clamp(min=1e-4), atol=1e-6)


def test_a_part_is_either_trained_on_or_held_back():
    names = [f"free/num_{part * 1000 + frame * 40}.jpg" for part in range(10) for frame in range(6)]
    groups = sets.groups_of(names, {"number": r"num_(\d+)", "within": 200})
    assert groups == [part for part in range(10) for _ in range(6)]
    trained, validation = sets.split(60, 8, groups=groups)
    assert len(validation) == 12 and len(trained) == 48
    assert not {groups[i] for i in trained} & {groups[i] for i in validation}


def test_a_file_without_a_number_is_a_part_of_its_own():
    rule = {"number": r"num_(\d+)", "within": 200}
    assert sets.groups_of(["x.jpg", "y.jpg", "num_5.jpg", "num_100.jpg"], rule) == [0, 1, 2, 2]


def test_a_detector_is_exported_for_any_sides_and_repeats_pytorch_there(tmp_path):
    import onnxruntime

    model = built("tile-defects")
    (graph,) = model.graphs()
    export.export_graph(graph, [torch.rand(3, 1, 32, 32)], tmp_path / "anomaly.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "anomaly.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 32, 32), (2, 1, 48, 80)):
        image = torch.rand(shape)
        with torch.no_grad():
            wanted = graph.module(image)
        for got, want in zip(session.run(["score", "map"], {"image": image.numpy()}), wanted):
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-3, atol=1e-4)
