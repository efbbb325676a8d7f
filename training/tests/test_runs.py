import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-training runs these")

from training import augment, export, objective, recipes, served, sets, train

RESIDUAL = {"width": 8, "blocks": 1, "dim": 16}
SMALL = {
    "ae-cifar10": {"network": {"width": 8, "latent": 8}},
    "crvae-cifar10": {"network": {"width": 8, "latent": 8}, "contrast": {"queue": 20}},
    "mae-cifar10": {"network": {"dim": 16, "heads": 2, "depth": 1, "decoder_dim": 8, "decoder_depth": 1}},
    **{f"{m}-cifar10": {"network": RESIDUAL} for m in ("simclr", "byol", "swav", "vicreg")},
    "moco-cifar10": {"network": RESIDUAL, "settings": {"temperature": 0.2, "momentum": 0.99, "queue": 20}},
}
SHORT = {"epochs": 3, "batch": 8, "warmup_share": 0.1, "learning_rate": 0.01, "validation_images": 8, "phases": []}


def settings_of(name, **training):
    return recipes.recipe(name, SMALL[name] | {"training": SHORT | training})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "RUNS", tmp_path)
    torch.set_num_threads(1)


def data(classes=2):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, (48, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(48) % classes
    return drawn[:32], (drawn[32:40], labels[32:40]), (drawn[40:], labels[40:])


def run_of(name, settings):
    return train.Run(name, settings, torch.device("cpu"))


@pytest.mark.parametrize("name", SMALL)
def test_a_resumed_run_is_the_run_that_was_not_interrupted(name, runs):
    whole = run_of("whole", settings_of(name))
    whole.train(*data())
    run_of("parts", settings_of(name)).train(*data(), stop_after=1)
    resumed = run_of("parts", settings_of(name))
    resumed.resume()
    resumed.train(*data())
    assert resumed.epoch == 3
    for (key, wanted), got in zip(whole.model.state_dict().items(), resumed.model.state_dict().values()):
        assert torch.equal(wanted, got), key


def test_a_checkpoint_of_another_recipe_is_refused_and_the_key_is_named(runs):
    run_of("changed", settings_of("ae-cifar10")).train(*data(), stop_after=1)
    other = run_of("changed", settings_of("ae-cifar10", batch=4))
    with pytest.raises(SystemExit, match=r"another recipe:\n  training.batch was 8 and is 4\n.*--restart"):
        other.resume()
    again = run_of("changed", settings_of("ae-cifar10", monitor_every=3))
    again.resume()
    assert again.epoch == 1


def test_a_checkpoint_that_does_not_say_its_recipe_is_refused(runs, tmp_path):
    run = run_of("silent", settings_of("ae-cifar10"))
    run.train(*data(), stop_after=1)
    state = torch.load(run.checkpoint, weights_only=True)
    torch.save({key: value for key, value in state.items() if not key.startswith("recipe")}, run.checkpoint)
    with pytest.raises(SystemExit, match="does not say by which"):
        run.resume()


def test_a_set_smaller_than_a_batch_is_trained_on_as_one_batch(runs):
    run = run_of("few", settings_of("ae-cifar10", batch=256, epochs=1))
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    run.train(*data())
    assert np.isfinite(run.curve[-1]["loss"])
    assert any(not torch.equal(value, before[key]) for key, value in run.model.state_dict().items() if key.endswith("weight"))


@pytest.mark.parametrize("name", ["ae-cifar10", "crvae-cifar10", "mae-cifar10", "simclr-cifar10"])
def test_monitors_that_mean_nothing_without_labels_are_left_out(name, runs):
    run = run_of(f"one-class-{name}", settings_of(name, epochs=1))
    run.train(*data(classes=1))
    assert not [key for key in run.curve[-1] if "accuracy" in key]
    assert [key for key in run_of(name, settings_of(name)).figures(*data()[1:]) if "accuracy" in key]


@pytest.mark.parametrize("name", ["crvae-cifar10", "mae-cifar10"])
def test_an_exported_folder_serves_what_pytorch_computes(name, runs, tmp_path):
    torch.manual_seed(0)
    model = objective.build(settings_of(name))
    export.write(tmp_path / name, settings_of(name), model, {"recipe": name})  # compares the graphs with PyTorch
    folder = served.Model(tmp_path / name)
    some = data()[0][:5].numpy()
    assert folder.embed(some).shape == (5, 8 if name == "crvae-cifar10" else 16)
    assert folder.reconstruct(some).shape == some.shape
    assert json.loads((tmp_path / name / "training.json").read_text()) == {"recipe": name}
    assert np.load(tmp_path / name / "golden.npz")["image"].shape == (40, 48, 3)


def test_an_export_that_disagrees_with_pytorch_leaves_the_model_before_in_place(runs, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.toml").write_text("before")
    (folder / "metrics.json").write_text("{}")
    # without a second export, which takes seconds: what is checked here is what happens when a check fails
    monkeypatch.setattr(export, "export_graphs", lambda *_: {"image": np.zeros((2, 2, 3), np.uint8)})
    settings = settings_of("ae-cifar10")
    with pytest.raises(Exception, match="encoder.latent|encoder.image|encoder.onnx"):
        export.write(folder, settings, objective.build(settings))
    assert {path.name for path in folder.iterdir()} == {"model.toml", "metrics.json"}
    assert (folder / "model.toml").read_text() == "before"


def test_complementary_masks_show_each_patch_once():
    masks = served.complementary_masks(64)
    assert (masks == 0).sum(0).tolist() == [1] * 64
    assert masks.sum(1).tolist() == [48] * 4


def test_the_validation_set_is_the_same_on_every_run():
    trained, validation = sets.split(50, 5)
    assert torch.equal(sets.split(50, 5)[1], validation)
    assert sorted(torch.cat([trained, validation]).tolist()) == list(range(50))


def test_monitors_and_checkpoints_come_at_the_pace_of_the_recipe(runs):
    run = run_of("paced", settings_of("ae-cifar10", epochs=5, monitor_every=2))
    run.train(*data())
    assert [row["epoch"] for row in run.curve] == [2, 4, 5]


def test_hidden_patches_are_grey_and_the_rest_is_as_it_was():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 3, 16, 16, generator=generator) * 0.4
    shown = augment.hide_patches(images, generator, 0.5, 0.5, 4)
    hidden = (shown == 0.5).all(1)
    assert torch.equal(shown.where(~hidden[:, None], images), images)
    patches = hidden.view(64, 4, 4, 4, 4).permute(0, 1, 3, 2, 4).flatten(3).float().mean(3)
    assert set(patches.unique().tolist()) == {0.0, 1.0}, "a patch is hidden whole"
    touched = patches.flatten(1).sum(1) > 0
    assert 20 < touched.sum() < 44 and 0.35 < patches[touched].mean() < 0.65
