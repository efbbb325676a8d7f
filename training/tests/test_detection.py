import io
import tarfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")
pytest.importorskip("sklearn", reason="scikit-learn is not installed: make test-training runs these")
pytest.importorskip("scipy", reason="SciPy is not installed: make test-training runs these")

from training import defect_sets, detection, images, scores

SPEC = {"input": {"width": 16, "height": 16, "channels": "gray"}, "preprocess": {"resize": "exact", "filter": "bicubic", "rescale": 1 / 255}}


def png(pixels):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def test_set(types, masks=None, groups=None, size=(8, 8)):
    count = len(types)
    masks = masks or [None] * count
    return defect_sets.DefectSet(np.zeros((count, 1, 8, 8), np.uint8), types, masks, [size] * count, np.array(groups or range(count)))


test_set.__test__ = False


def test_a_perfect_score_has_an_auroc_of_one_for_each_type_and_all_recall():
    test = test_set(["", "", "", "crack", "crack", "pit"])
    figures = detection.image_figures(test, np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7]))
    assert figures["image_auroc"] == 1 and figures["image_auroc_by_type"] == {"crack": 1, "pit": 1}
    assert figures["recall_at_0.01"] == 1 and figures["image_auroc_interval"] == [1, 1]


def test_recall_is_that_above_the_threshold_which_keeps_the_rate_of_false_alarms():
    truth = np.repeat([False, True], [20, 4])
    scores_ = np.concatenate([np.arange(20), [17.5, 18.5, 19.5, 3]]).astype(float)
    assert detection.recall_at(truth, scores_, 0.05) == 0.5  # one of twenty may be above 18
    assert detection.recall_at(truth, scores_, 0.01) == 0.25
    assert (scores_[~truth] > 18).mean() <= 0.05


def test_maps_that_are_the_masks_have_a_pixel_auroc_and_an_aupro_of_one():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:4] = mask[6, 6] = True
    figures = detection.pixel_figures(test_set(["", "pit"], [None, mask]), np.stack([np.zeros((8, 8)), mask]).astype(np.float32))
    assert figures == {"pixel_auroc": pytest.approx(1), "aupro_to_0.3": pytest.approx(1)}


def test_each_connected_defect_counts_alike_in_the_overlap():
    mask = np.zeros((8, 8), bool)
    mask[0:4, 0:4], mask[7, 7] = True, True
    found = np.zeros((8, 8), np.float32)
    found[0:4, 0:4] = 1  # the large one alone
    figures = detection.pixel_figures(test_set(["", "pit"], [None, mask]), np.stack([np.zeros((8, 8), np.float32), found]))
    # half of the defects from the start; the other half comes with all pixels, along a straight line to a rate of 1
    assert figures["aupro_to_0.3"] == pytest.approx(0.5 + 0.5 * 0.15, abs=0.01)
    assert figures["pixel_auroc"] == pytest.approx((16 + 0.5) / 17, abs=0.01)


def test_p_values_count_the_normal_scores_that_are_no_smaller():
    assert np.allclose(detection.p_values(np.array([1.0, 2, 3]), np.array([0, 2, 5])), [1, 3 / 4, 1 / 4])


def test_a_score_that_every_metric_finds_odd_is_the_oddest_when_combined():
    normal = np.arange(20.0)
    one, other = np.array([10.0, 19.5, 19.5]), np.array([10.0, 3.0, 19.5])
    found = detection.combined([normal, normal], [one, other])
    assert found.argmax() == 2 and found.argmin() == 0


def test_an_archive_has_masks_beside_its_images_and_parts_by_number(tmp_path):
    grey, mask = np.full((20, 30), 90, np.uint8), np.zeros((20, 30), np.uint8)
    mask[5, 6] = 255
    files = {"free/num_10.png": grey, "free/num_150.png": grey, "free/num_400.png": grey, "pit/num_900.png": grey, "pit/num_900_mask.png": mask}
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for name, pixels in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(png(pixels))
            tar.addfile(member, io.BytesIO(png(pixels)))
    test = defect_sets.archive(tmp_path / "val.tar", SPEC, {"number": r"num_(\d+)", "within": 200})
    assert test.types == ["", "", "", "pit"] and test.groups.tolist() == [0, 0, 1, 2]
    assert test.data.shape == (4, 1, 16, 16) and test.sizes[3] == (30, 20)
    assert test.masks[:3] == [None] * 3 and np.argwhere(test.masks[3]).tolist() == [[5, 6]]
    assert defect_sets.has_masks(tmp_path / "val.tar")


def test_a_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(images.Unusable, match="a mask has 4 × 4 pixels, its image 8 × 8"):
        defect_sets.mask_pixels(png(np.zeros((4, 4), np.uint8)), (8, 8))
    with pytest.raises(images.Unusable, match="there is no mask of pit/1.png"):
        defect_sets.mask_of(tmp_path, "pit/1.png")


def test_gradients_of_equal_images_do_not_deviate_and_a_scratch_does():
    image = np.random.default_rng(0).random((2, 1, 16, 24), np.float32)
    other = image.copy()
    other[1, 0, 4:6, 3:20] = 1
    found = scores.gradient_deviation(image, other)
    assert found.shape == (2, 16, 24) and not found[0].any()
    assert found[1, 4:6, 6:16].mean() > 3 * found[1, 12:].mean()


def test_the_highest_share_is_rounded_up_to_whole_values():
    values = np.array([[[0.0, 4, 1, 3, 2]]])
    pooled = lambda pooling: scores.pooled(values, pooling)[0]
    assert (pooled("max"), pooled("mean"), pooled("top:0.4"), pooled("top:0.41")) == (4, 2, 3.5, 3)
