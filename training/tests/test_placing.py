import pytest

from training import placing


def test_a_folder_takes_the_place_of_the_one_before_and_keeps_what_is_named(tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    for name in ("README.md", "old.onnx", "training.json"):
        (place / name).write_text("before")
    with placing.replacing(place, ["README.md", "training.json", "absent"]) as new:
        (new / "training.json").write_text("now")
        assert (place / "old.onnx").exists(), "nothing moves before the block ends"
    assert {path.name: path.read_text() for path in place.iterdir()} == {"README.md": "before", "training.json": "now"}
    assert list(tmp_path.iterdir()) == [place]


def test_a_folder_that_fails_its_checks_leaves_the_one_before_as_it_was(tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    (place / "model.toml").write_text("before")
    with pytest.raises(AssertionError), placing.replacing(place) as new:
        (new / "model.toml").write_text("wrong")
        raise AssertionError("not within the tolerance")
    assert (place / "model.toml").read_text() == "before"
    assert list(tmp_path.iterdir()) == [place]


def test_a_first_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError), placing.replacing(tmp_path / "models" / "model"):
        raise AssertionError("not within the tolerance")
    assert list((tmp_path / "models").iterdir()) == []
