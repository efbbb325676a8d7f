import copy

import pytest

from training import manifest, recipes, schedule

NAMES = sorted(p.relative_to(recipes.RECIPES).with_suffix("").as_posix() for p in recipes.RECIPES.rglob("*.toml"))


def complaints(name, changes):
    with pytest.raises(recipes.RecipeError) as refused:
        recipes.recipe(name, changes)
    return str(refused.value).split("\n  ")[1:]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_passes_its_own_check(name):
    assert recipes.recipe(name)["channels"] == ("gray" if name.startswith("tile-") else "rgb")


def test_all_that_is_wrong_with_a_recipe_is_said_at_once():
    changes = {"chanels": "gray", "side": 60.5, "training": {"monitor_evry": 2, "precision": "fp16", "batch": 1}}
    assert complaints("ae", changes) == [
        "side = 60.5 is not a whole number",
        "training.batch = 1 is less than 2",
        'training.precision = "fp16" is not one of f32, bf16',
        "training.monitor_evry is not a key; did you mean monitor_every?",
        "chanels is not a key; did you mean channels?",
    ]


def test_a_key_of_another_objective_or_method_is_unknown():
    (highest,) = complaints("ae", {"highest_sigma": 0.1})
    assert highest.startswith("highest_sigma is not a key; there are: objective,")
    (queue,) = complaints("simclr", {"settings": {"temperature": 0.2, "queue": 5}})
    assert queue == "settings.queue is not a key; there are: temperature"


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("ae", {"side": 60}, "side = 60 is not a multiple of 8"),
        ("mae", {"side": 64, "masked": {"patch": 6}}, "side = 64 is not a multiple of masked.patch = 6"),
        ("mae", {"network": {"dim": 126}}, "network.dim = 126 is not a multiple of 4 and of network.heads"),
        ("simclr", {"side": 24}, "side = 24 is not a multiple of 16, 4 times network.stem_stride times served.grid"),
        ("simclr", {"preprocess": {"std": [1.0, 1.0]}}, "preprocess.std has not one number for each channel of rgb, nor a single one for all"),
        ("ae", {"preprocess": {"edge": 70}}, "preprocess.edge and crop have no meaning with resize = exact"),
        ("ae", {"preprocess": {"resize": "shortest-edge", "edge": 60}},
         "preprocess.resize = shortest-edge needs crop = center and an edge that is no less than side"),
        ("ae", {"preprocess": {"mean": [0.5]}}, "preprocess has one of mean and std without the other"),
        ("cpu/mae-cifar10", {"training": {"phases": []}}, "training.epochs is missing, and there are no phases"),
        ("ae", {"training": {"phases": [{"epochs": 1, "learning_rate": [0.1, 0.0], "crop_side": 8}]}},
         "training.phases[0].crop_side is not a key; there are: epochs, learning_rate"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(name, changes, complaint):
    assert complaint in complaints(name, changes)


def test_what_follows_from_other_keys_is_filled_in():
    mae = recipes.recipe("mae", {"side": 96})
    assert mae["masked"]["patch"] == 12
    simclr = recipes.recipe("simclr", {"side": 96, "channels": "gray"})
    assert simclr["augmentation"]["crop_side"] == 96 and simclr["preprocess"]["mean"] == [0.5]
    assert recipes.recipe("simclr")["preprocess"]["mean"] == [0.5] * 3
    cropped = recipes.recipe("ae", {"preprocess": recipes.FITS["crop"]})["preprocess"]
    assert (cropped["edge"], cropped["crop"]) == (64, "center")


def test_a_recipe_with_a_base_differs_where_it_says():
    moco, simclr = recipes.recipe("moco-cifar10"), recipes.recipe("cpu/simclr-cifar10")
    assert moco["network"] == simclr["network"] and moco["training"] == simclr["training"]
    assert moco["method"] == "moco" and "queue" in moco["settings"]


def test_without_a_gpu_a_model_is_made_by_its_recipe_for_processors():
    assert recipes.recipe_for("simclr-cifar10", "cpu") == "cpu/simclr-cifar10"
    assert recipes.recipe_for("simclr-cifar10", "cuda") == "simclr-cifar10"
    assert recipes.recipe_for("vae-cifar10", "cpu") == "vae-cifar10"


def test_the_ablation_differs_by_the_contrastive_term_alone():
    ablated, contrastive = recipes.recipe("vae-cifar10"), recipes.recipe("crvae-cifar10")
    assert contrastive.pop("contrast")
    assert ablated.pop("manifest") != contrastive.pop("manifest")
    assert ablated == contrastive


def test_a_model_of_ones_own_images_inherits_no_licence_no_description_and_no_variant(tmp_path):
    settings = recipes.recipe("cpu/mae-cifar10")
    own = recipes.for_own_images(settings, "cpu/mae-cifar10", tmp_path / "photos", {"license": None, "description": None})
    assert own["manifest"] == {"family": "masked-autoencoder", "description": "recipe cpu/mae-cifar10, trained on photos"}
    assert "variants" not in own and "variants" in settings
    said = {"license": "CC0", "description": "parts"}
    assert recipes.for_own_images(settings, "", tmp_path, said)["manifest"] == {"family": "masked-autoencoder", **said}
    assert "CIFAR" not in manifest.text(own, [])


def test_weights_belong_to_a_recipe_but_for_what_has_no_effect_on_them():
    settings = recipes.recipe("cpu/mae-cifar10")
    before = recipes.trained_by(settings, 2)

    def changed(change, epoch=2):
        return recipes.differences(before, recipes.trained_by(recipes.merged(copy.deepcopy(settings), change), epoch))

    assert changed({"manifest": {"description": "x"}, "training": {"monitor_every": 5}, "variants": {}}) == []
    assert changed({"pixel_weight": 1.0, "training": {"batch": 64}}) == [
        "pixel_weight was 10.0 and is 1.0",
        "training.batch was 256 and is 64",
    ]
    assert changed({"corruption": {"patch": 4}}) == ['corruption was not there and is {"patch": 4}']


def test_phases_that_have_not_begun_may_be_changed():
    settings = recipes.recipe("cpu/mae-cifar10")
    other = copy.deepcopy(settings)
    other["training"]["phases"][2]["epochs"] = 9
    assert recipes.digest(recipes.trained_by(settings, 2)) == recipes.digest(recipes.trained_by(other, 2))
    assert recipes.digest(recipes.trained_by(settings, 3)) != recipes.digest(recipes.trained_by(other, 3))


def test_phases_come_one_after_another_without_a_gap():
    phases = [
        {"epochs": 1, "learning_rate": [0.0, 1.0], "crop_side": 16},
        {"epochs": 2, "learning_rate": [1.0, 0.0], "crop_side": 32},
    ]
    training = {"phases": phases}
    assert schedule.total_epochs(training) == 3
    rates = [schedule.learning_rate(training, e, s) for e, s in ((0, 0), (0, 0.5), (1, 0), (2, 0), (2, 1))]
    assert rates == [0, 0.5, 1, 0.5, 0]
    assert [schedule.overrides(training, e)["crop_side"] for e in range(3)] == [16, 32, 32]
