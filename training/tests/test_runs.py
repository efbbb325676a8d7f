import io
import tarfile

import pytest
import torch
from PIL import Image

from training import augment, export, images, objective, schedule, served, train

RESIDUAL = {"width": 8, "blocks": 1, "dim": 16}
SMALL = {
    "ae-cifar10": {"network": {"width": 8, "latent": 8}},
    "crvae-cifar10": {"network": {"width": 8, "latent": 8}, "contrast": {"queue": 20}},
    "mae-cifar10": {"network": {"dim": 16, "heads": 2, "depth": 1, "decoder_dim": 8, "decoder_depth": 1}},
    **{f"{m}-cifar10": {"network": RESIDUAL} for m in ("simclr", "byol", "swav", "vicreg")},
    "moco-cifar10": {"network": RESIDUAL, "settings": {"queue": 20}},
}


def settings_of(name):
    settings = objective.recipe(name)
    for key, change in SMALL[name].items():
        settings[key] = settings[key] | change
    short = {"epochs": 3, "batch": 8, "warmup_share": 0.1, "learning_rate": 0.01, "validation_images": 8}
    settings["training"] = {k: v for k, v in settings["training"].items() if k != "phases"} | short
    return settings


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "RUNS", tmp_path)
    torch.set_num_threads(1)


def data():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, (48, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(48) % 2
    return drawn[:32], (drawn[32:40], labels[32:40]), (drawn[40:], labels[40:])


@pytest.mark.parametrize("name", SMALL)
def test_a_resumed_run_is_the_run_that_was_not_interrupted(name, runs):
    whole = train.Run("whole", settings_of(name), torch.device("cpu"))
    whole.train(*data())
    train.Run("parts", settings_of(name), torch.device("cpu")).train(*data(), stop_after=1)
    resumed = train.Run("parts", settings_of(name), torch.device("cpu"))
    resumed.resume()
    resumed.train(*data())
    assert resumed.epoch == 3
    for (key, wanted), got in zip(whole.model.state_dict().items(), resumed.model.state_dict().values()):
        assert torch.equal(wanted, got), key


@pytest.mark.parametrize("name", ["crvae-cifar10", "mae-cifar10"])
def test_an_exported_folder_serves_what_pytorch_computes(name, runs, tmp_path):
    torch.manual_seed(0)
    model = objective.build(settings_of(name))
    export.write(name, settings_of(name), model, tmp_path)  # compares the graphs with PyTorch
    folder = served.Model(tmp_path / name)
    some = data()[0][:5].numpy()
    assert folder.embed(some).shape == (5, 8 if name == "crvae-cifar10" else 16)
    assert folder.reconstruct(some).shape == some.shape


def test_complementary_masks_show_each_patch_once():
    masks = served.complementary_masks(64)
    assert (masks == 0).sum(0).tolist() == [1] * 64
    assert masks.sum(1).tolist() == [48] * 4


def test_phases_follow_one_another_without_a_gap():
    phases = [
        {"epochs": 1, "learning_rate": [0.0, 1.0], "crop_side": 16},
        {"epochs": 2, "learning_rate": [1.0, 0.0], "crop_side": 32},
    ]
    training = {"phases": phases}
    assert schedule.total_epochs(training) == 3
    rates = [schedule.learning_rate(training, e, s) for e, s in ((0, 0), (0, 0.5), (1, 0), (2, 0), (2, 1))]
    assert rates == [0, 0.5, 1, 0.5, 0]
    assert [schedule.overrides(training, e)["crop_side"] for e in range(3)] == [16, 32, 32]


def test_a_recipe_with_a_base_differs_where_it_says():
    moco, simclr = objective.recipe("moco-cifar10"), objective.recipe("cpu/simclr-cifar10")
    assert moco["network"] == simclr["network"] and moco["training"] == simclr["training"]
    assert moco["method"] == "moco" and "queue" in moco["settings"]


def test_without_a_gpu_a_model_is_made_by_its_recipe_for_processors():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert objective.recipe_for("simclr-cifar10", cpu) == "cpu/simclr-cifar10"
    assert objective.recipe_for("simclr-cifar10", cuda) == "simclr-cifar10"
    assert objective.recipe_for("vae-cifar10", cpu) == "vae-cifar10"


def test_monitors_and_checkpoints_come_at_the_pace_of_the_recipe(runs):
    settings = settings_of("ae-cifar10")
    settings["training"] |= {"epochs": 5, "monitor_every": 2}
    run = train.Run("paced", settings, torch.device("cpu"))
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


def test_the_ablation_differs_by_the_contrastive_term_alone():
    ablated, contrastive = objective.recipe("vae-cifar10"), objective.recipe("crvae-cifar10")
    assert contrastive.pop("contrast")
    assert ablated.pop("manifest") != contrastive.pop("manifest")
    assert ablated == contrastive


def test_images_come_alike_from_a_tar_and_from_a_folder(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, turn in (("b/1.png", 0), ("a/2.png", 1)):
            encoded = io.BytesIO()
            Image.fromarray(images.drawn(32, 32, turn)).save(encoded, "PNG")
            member = tarfile.TarInfo(name)
            member.size = len(encoded.getvalue())
            tar.addfile(member, io.BytesIO(encoded.getvalue()))
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(encoded.getvalue())
    (from_tar, labels), (from_folder, same) = (images.load(tmp_path / p, 32) for p in ("set.tar", "folder"))
    assert torch.equal(from_tar, from_folder) and labels.tolist() == same.tolist() == [0, 1]
