"""How well a model folder finds defects: its scores and maps on labelled images.

A score needs a metric, a smoothing and a pooling. They are chosen without a real defect: by how well they tell validation
images with drawn defects (synthetic.py, one on each, the kinds that know no product) from the same images without.
"""

import json

import numpy as np

from training import defect_sets, detection, images, recipes, scores, synthetic
from training.scores import Scoring

NOTE = "images re-encoded as JPEG: figures differ slightly from those on the original PNG pixels"
GENERAL = ("patch", "texture", "spot", "line")
RULES = {"kinds": GENERAL, "share": 1.0, "most": 1}
SIGMAS = (0.0, 2.0, 4.0)
OWN = Scoring("graph", 0.0, "own")
POOLINGS = ("max", "top:0.001", "top:0.01", "top:0.1", "mean")


def detects(model):
    """Whether finding defects is what the model is for."""
    return model.family == "anomaly"


def metrics_of(model):
    """The metrics that have a map."""
    if detects(model):
        return (["graph"] if model.has("anomaly") else []) + (["patch-knn"] if model.memory is not None else [])
    return [*scores.ERRORS, *(["hidden"] if model.has("masked") else [])] if model.reconstructs() else []


def all_scores(model, data):
    """The scores of images by each way to score them, and their maps by each metric."""
    found, by_metric = {}, scores.maps_by_metric(model, data, metrics_of(model))
    if "own" in by_metric:
        found[OWN] = by_metric.pop("own")
    for metric, maps in by_metric.items():
        for sigma in SIGMAS:
            smooth = scores.smoothed(maps, sigma)
            found |= {Scoring(metric, sigma, pooling): scores.pooled(smooth, pooling) for pooling in POOLINGS}
    return found, by_metric


def drawn_defects(data, seed=0):
    """The images, u8, each with a drawn defect."""
    plain = data.astype(np.float32) / 255
    spoiled, _ = synthetic.spoiled(plain, plain, np.random.default_rng(seed), RULES)
    return (spoiled * 255).round().astype(np.uint8)


def told_apart(normal, spoiled):
    truth = np.repeat([False, True], [len(normal), len(spoiled)])
    return detection.auroc(truth, np.concatenate([normal, spoiled]))


def best_by_drawn(model, validation):
    """The way to score by which validation images with drawn defects are told best from those without."""
    normal, spoiled = (all_scores(model, data)[0] for data in (validation, drawn_defects(validation)))
    return max(normal, key=lambda scoring: told_apart(normal[scoring], spoiled[scoring]))


def measured(model, test, validation):
    """The figures of a model on a labelled set, its way to score chosen on validation images."""
    found, maps = all_scores(model, test.data)
    best = OWN if OWN in found else best_by_drawn(model, validation)
    figures = {"score": str(best)} | detection.image_figures(test, found[best])
    figures["image_auroc_by_score"] = {str(scoring): detection.auroc(test.truth, values) for scoring, values in found.items()}
    if any(mask is not None for mask in test.masks):
        figures |= detection.pixel_figures(test, scores.smoothed(maps[best.metric], best.sigma))
    return rounded(figures)


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


def held_out(model, read):
    """The images of a training set that the model was not trained on, as its record of hashes says."""
    path = model.folder / "training.json"
    trained = set(json.loads(path.read_text()).get("images_blake3", ())) if path.exists() else set()
    kept = [index for index, hash_ in enumerate(read.hashes) if hash_ not in trained]
    if not trained or not kept:
        raise images.Unusable(f"{path} does not tell which images were trained on: train the model again")
    return kept


def measure_on_set(model, data, name):
    """What is measured, and the figures, of one of the models of this repository."""
    test = defect_sets.archive(data / name / "val.tar", model.manifest, groups_of(model))
    read = images.read(data / name / "train.tar", model.manifest, hashed=True)
    validation = read.data[held_out(model, read)]
    about = {
        "evaluated_on": f"{name}/val.tar, {(~test.truth).sum()} normal and {test.truth.sum()} defective images",
        "validation": f"{name}/train.tar, the {len(validation)} images that were not trained on",
        "groups": len(np.unique(test.groups)),
        "note": NOTE,
    }
    return about, measured(model, test, validation)


def groups_of(model):
    """The rule by which files fall into groups, of the recipe that the model's record names."""
    path = model.folder / "training.json"
    named = json.loads(path.read_text()).get("recipe") if path.exists() else None
    return recipes.recipe(named).get("groups") if named else None


def measure_on_folder(model, source, bad, masks):
    """The same of a model of one's own images: by those that it was not trained on, and defective ones where they are given."""
    read = images.read(source, model.manifest, hashed=True)
    kept = held_out(model, read)
    about = {"evaluated_on": f"{source.resolve().name}, {len(kept)} validation images"}
    if bad is None:
        best = OWN if model.has("anomaly") else best_by_drawn(model, read.data[kept])
        normal, spoiled = (scores.scores_of(model, data, best) for data in (read.data[kept], drawn_defects(read.data[kept])))
        return about, rounded({"score": str(best), "drawn_auroc": told_apart(normal, spoiled)})
    files = dict(images.members(source))
    test = defect_sets.folders([(read.names[index], files[read.names[index]]) for index in kept], bad, masks, model.manifest)
    about["evaluated_on"] += f" and {test.truth.sum()} of {bad.resolve().name}"
    return about, measured(model, test, read.data[kept])
