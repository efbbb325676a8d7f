import numpy as np
import pytest

pytest.importorskip("scipy", reason="SciPy is not installed: make test-training runs these")

from training import recipes, synthetic


def surface(seed=0, channels=1, high=64, wide=64):
    """A grey surface with upright streaks."""
    rng = np.random.default_rng(seed)
    streaks = 0.5 + 0.08 * rng.standard_normal((1, 1, wide)) + 0.02 * rng.standard_normal((channels, high, wide))
    return streaks.clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", recipes.KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_kind_of_defect_changes_the_image_where_it_says_and_hardly_elsewhere(kind, channels):
    rng, found = np.random.default_rng(3), 0
    for seed in range(12):
        image = surface(seed, channels, 64, 80)
        drawn, label = synthetic.with_defects(synthetic.Canvas(image, [surface(50, channels, 64, 80)], rng), [kind], 1)
        assert drawn.shape == image.shape and drawn.dtype == np.float32 and label.shape == image.shape[1:]
        assert 0 <= drawn.min() and drawn.max() <= 1 and set(np.unique(label)) <= {0, 1}
        change = np.abs(drawn - image).mean(0)
        if label.any():
            found += 1
            assert change[label > 0].mean() > 0.005
            assert change[label == 0].mean() < change[label > 0].mean()
        else:
            assert not change.any(), "a defect that is not labelled is not drawn"
    assert found >= 6


def test_the_same_numbers_draw_the_same_defects_and_the_share_of_images_is_kept():
    images = np.stack([surface(seed) for seed in range(40)])
    rules = {"kinds": ["spot", "line"], "share": 0.5, "most": 2}
    first, second = (synthetic.spoiled(images, images, np.random.default_rng(5), rules) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    spoiled = first[1].any((1, 2, 3))
    assert 10 <= spoiled.sum() <= 30
    assert np.array_equal(first[0][~spoiled], images[~spoiled])


def test_a_line_is_as_wide_as_it_was_asked_to_be():
    canvas = synthetic.Canvas(surface(), [surface()], np.random.default_rng(0))
    thin, wide = (canvas.walk((32, 4), 0.0, 50, width, 0.0) for width in (1, 6))
    widths = [(drawn > 0.6).sum(0)[20:40].mean() for drawn in (thin, wide)]
    assert 0.9 <= widths[0] <= 1.6 and 4 <= widths[1] <= 8
