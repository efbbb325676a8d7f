import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from training import images


def spec(side=32, channels="rgb", **rules):
    preprocess = {"resize": "exact", "filter": "bicubic", "rescale": 1 / 255} | rules
    return {"input": {"width": side, "height": side, "channels": channels}, "preprocess": preprocess}


def encoded(turn=0, size=(32, 32)):
    written = io.BytesIO()
    Image.fromarray(images.drawn(*size, turn)).save(written, "PNG")
    return written.getvalue()


def test_images_come_alike_from_a_tar_and_from_a_folder(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, turn in (("b/1.png", 0), ("a/2.png", 1)):
            member = tarfile.TarInfo(name)
            member.size = len(encoded(turn))
            tar.addfile(member, io.BytesIO(encoded(turn)))
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(encoded(turn))
    (from_tar, labels), (from_folder, same) = (images.load(tmp_path / p, spec()) for p in ("set.tar", "folder"))
    assert np.array_equal(from_tar, from_folder) and labels.tolist() == same.tolist() == [0, 1]


def test_images_of_any_size_are_brought_to_the_side_in_colour_and_grey(tmp_path):
    (tmp_path / "wide.png").write_bytes(encoded(size=(64, 48)))
    colour, grey = (images.load(tmp_path, spec(64, channels))[0] for channels in ("rgb", "gray"))
    assert colour.shape == (1, 3, 64, 64) and grey.shape == (1, 1, 64, 64)
    # grey before it is resized, as the server does it
    wide = Image.fromarray(images.drawn(64, 48)).convert("L")
    assert np.array_equal(grey[0, 0], np.asarray(wide.resize((64, 64), Image.Resampling.BICUBIC)))


def test_a_file_that_cannot_be_decoded_is_named_and_left_out(tmp_path, capsys):
    (tmp_path / "good.png").write_bytes(encoded())
    (tmp_path / "cut.png").write_bytes(encoded()[:100])
    (tmp_path / "other.jpg").write_bytes(b"no image")
    assert len(images.load(tmp_path, spec())[0]) == 1
    said = capsys.readouterr().err
    assert "cut.png" in said and "other.jpg" in said and "2 of 3 files" in said
    (tmp_path / "good.png").unlink()
    with pytest.raises(images.Unusable, match="none of its 2 files can be decoded"):
        images.load(tmp_path, spec())


def pixels(image, tmp_path, **how):
    for path in tmp_path.glob("*"):
        path.unlink()
    image.save(tmp_path / "one.png", exif=image.getexif())
    return images.load(tmp_path, spec(**how))[0][0]


def test_an_image_is_turned_as_its_exif_says_and_flattened_on_white(tmp_path):
    drawn = Image.fromarray(images.drawn(32, 32))
    upright = pixels(drawn, tmp_path)
    turned = drawn.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    assert np.array_equal(pixels(turned, tmp_path), upright)
    clear = drawn.convert("RGBA")
    clear.putalpha(0)
    assert (pixels(clear, tmp_path) == 255).all()


def test_sixteen_bits_of_grey_are_rounded_to_eight(tmp_path):
    levels = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 64
    found = pixels(Image.fromarray(levels), tmp_path, channels="gray")
    assert np.abs(found[0] - levels / 257).max() <= 0.5


def test_images_that_are_not_square_are_squeezed_cropped_or_set_on_white(tmp_path):
    wide = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (32, 1)))
    how = {"channels": "gray", "filter": "nearest"}
    assert pixels(wide, tmp_path, **how)[0, 0].tolist() == list(range(1, 64, 2))
    cropped = pixels(wide, tmp_path, resize="shortest-edge", edge=32, crop="center", **how)
    assert cropped[0, 0].tolist() == list(range(16, 48))
    boxed = pixels(wide, tmp_path, resize="letterbox", **how)
    assert (boxed[0, :8] == 255).all() and (boxed[0, 24:] == 255).all() and (boxed[0, 8:24] < 64).all()


@pytest.mark.parametrize(("count", "asked", "validation"), [(50_000, 2000, 2000), (602, None, 60), (24, None, 2), (4, None, 2), (5, 3, 3)])
def test_a_tenth_is_for_validation_unless_the_recipe_says_otherwise(count, asked, validation):
    assert images.validation_count(count, asked) == validation


def test_too_few_images_are_said_to_be_too_few():
    with pytest.raises(images.Unusable, match="602 images, of which training.validation_images = 2000"):
        images.validation_count(602, 2000)
    with pytest.raises(images.Unusable, match="3 images are too few"):
        images.validation_count(3)


def test_a_folder_of_images_is_taken_in_place_of_the_set_that_a_recipe_names(tmp_path):
    with pytest.raises(images.Unusable, match="neither cifar10/train.tar nor images in"):
        images.source_of(tmp_path, "cifar10/train.tar")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.PNG").write_bytes(encoded())
    assert images.source_of(tmp_path, "cifar10/train.tar") == (tmp_path, False)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.tar").write_bytes(b"")
    assert images.source_of(tmp_path, "cifar10/train.tar") == (tmp_path / "cifar10/train.tar", True)


def test_preprocessing_is_what_the_manifest_says():
    manifest = {
        "input": {"width": 24, "height": 16, "channels": "gray"},
        "preprocess": {"resize": "exact", "filter": "bilinear", "rescale": 1 / 255, "mean": [0.5], "std": [0.25]},
    }
    found = images.preprocess(images.drawn(), manifest)
    pixels = Image.fromarray(images.drawn()).convert("L").resize((24, 40), Image.Resampling.BILINEAR)
    wanted = (np.asarray(pixels.resize((24, 16), Image.Resampling.BILINEAR), np.float32) / 255 - 0.5) / 0.25
    assert found.shape == (1, 1, 16, 24) and np.allclose(found[0, 0], wanted, atol=1e-6)
