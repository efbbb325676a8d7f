"""Recipes: read, completed and checked before anything is loaded. As strict as a manifest: a key that means nothing
is an error, and all that is wrong is said at once. Nothing here needs PyTorch."""

import difflib
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).resolve().parent / "recipes"
CHANNELS = {"rgb": 3, "gray": 1}
# Sides are halved three times by most networks.
SIDES = 8
# A U-Net halves them four times (unet.py).
UNET_SIDES = 16
# Kinds of drawn defects (synthetic.py, which needs SciPy).
KINDS = ("patch", "texture", "spot", "line", "pit", "crack", "chip", "finish")
# What changes nothing about the weights: how they are described, exported and watched.
WITHOUT_EFFECT = {"manifest", "embedding", "reconstruction", "variants", "served"}


# How images that are not square reach a square model.
FITS = {
    "squeeze": {"resize": "exact"},
    "crop": {"resize": "shortest-edge"},
    "letterbox": {"resize": "letterbox"},
}


class RecipeError(SystemExit):
    """A recipe that cannot be trained by, with everything that is wrong with it."""


@dataclass(frozen=True)
class Rule:
    """A rule says what a value must be."""

    kinds: tuple
    least: float | None = None
    most: float | None = None
    choices: tuple = ()
    required: bool = False
    many: bool = False

    def complaint(self, value):
        if self.many:
            found = value if isinstance(value, list) else [None]
            return next((text for text in map(self.single, found) if text), None) if found else "is empty"
        return self.single(value)

    def single(self, value):
        if isinstance(value, bool) != (bool in self.kinds) or not isinstance(value, self.kinds):
            return f"is not {self.name()}"
        if self.choices and value not in self.choices:
            return f"is not one of {', '.join(self.choices)}"
        if self.least is not None and value < self.least:
            return f"is less than {self.least:g}"
        if self.most is not None and value > self.most:
            return f"is more than {self.most:g}"
        return None

    def name(self):
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        return f"a list of {names[self.kinds[-1]].split(' ', 1)[1]}s" if self.many else names[self.kinds[-1]]


def whole(least=1, **others):
    return Rule((int,), least, **others)


def number(least=0.0, most=None, **others):
    return Rule((int, float), least, most, **others)


def text(*choices, **others):
    return Rule((str,), choices=choices, **others)


NUMBERS = Rule((int, float), many=True)
CONVOLUTIONAL = {"width": whole(), "latent": whole()}
SEGMENTING = {"width": whole(4), "deepest": whole(4)}
AUGMENTATION = {"crop_side": whole(8), "smallest_crop": number(0.01, 1), "colour": number()}

TRAINING = {
    "epochs": whole(),
    "batch": whole(2, required=True),
    "learning_rate": number(),
    "weight_decay": number(required=True),
    "warmup_share": number(0, 0.99),
    "precision": text("f32", "bf16", required=True),
    "optimiser": text("adamw", "muon"),
    "vector_rate": number(),
    "validation_images": whole(2),
    "monitor_every": whole(),
    "seed": whole(0, required=True),
    "phases": None,  # a list of tables, checked by itself
}

# Keys of every recipe; a table of rules is a table of the recipe.
COMMON = {
    "objective": text("reconstruction", "denoising", "contrastive", "masked", "variational", "defects", "memory", "completion", required=True),
    "data": text(),
    # Of a run whose weights training begins with, or which stand in place of training.
    "start_from": text(),
    "encoder_of": text(),
    "groups": {"number": text(required=True), "within": whole(required=True)},
    "side": whole(16, most=1024, required=True),
    "channels": text(*CHANNELS),
    "training": TRAINING,
    "manifest": {
        "family": text("anomaly", "autoencoder", "contrastive", "masked-autoencoder", "variational", required=True),
        "description": text(),
        "license": text(),
        "denoises": Rule((bool,)),
    },
    "preprocess": {
        "resize": text("exact", "shortest-edge", "letterbox", required=True),
        "edge": whole(),
        "crop": text("none", "center"),
        "filter": text("nearest", "bilinear", "bicubic", "lanczos", required=True),
        "rescale": number(required=True),
        "mean": NUMBERS,
        "std": NUMBERS,
    },
    "embedding": {
        "output": text("embedding", "latent", "mean", "tokens", required=True),
        "pooling": text("none", "cls", "mean", required=True),
        "normalize": Rule((bool,), required=True),
        "metric": text("cosine", "dot", "euclid", required=True),
    },
    "reconstruction": {"values": text("unit", "normalized", required=True)},
    "memory": {"file": text(required=True), "neighbours": whole(required=True)},
    "variants": None,  # tables by name, checked by themselves
}

VARIANT = {"graphs": Rule((str,), many=True, required=True), "golden": {"atol": number(), "rtol": number()}}

# Keys of the recipes of one objective.
OBJECTIVES = {
    "reconstruction": {
        "network": CONVOLUTIONAL,
        "corruption": {"images_share": number(0, 1, required=True), "patches_share": number(0, 1, required=True), "patch": whole(required=True)},
    },
    "denoising": {"network": {"width": whole(4), "blocks": whole()}, "highest_sigma": number(0, 1, required=True)},
    "contrastive": {
        "method": text("simclr", "moco", "byol", "swav", "vicreg", required=True),
        "network": {"width": whole(), "blocks": whole(), "dim": whole(), "stem_stride": whole(1, most=2)},
        "head": {"hidden": whole(required=True), "outside": whole(required=True)},
        "augmentation": AUGMENTATION,
        "served": {"grid": whole(), "weight": number()},
        "settings": {},
    },
    "masked": {
        "hidden_share": number(0.01, 0.99, required=True),
        "pixel_weight": number(required=True),
        "smallest_crop": number(0.01, 1, required=True),
        "network": {key: whole() for key in ("dim", "depth", "heads", "decoder_dim", "decoder_depth")},
        "masked": {"patch": whole(2)},
    },
    "defects": {
        "network": SEGMENTING,
        "view": whole(16),
        "zoom": number(1, most=4, required=True),
        "light": number(0, most=2, required=True),
        "defects": {
            "kinds": Rule((str,), choices=KINDS, many=True, required=True),
            "share": number(0.01, 1, required=True),
            "most": whole(required=True),
        },
        "weights": {"focal": number(required=True), "image": number(required=True)},
    },
    "memory": {
        "coreset": {"count": whole(required=True), "candidates": whole(required=True)},
    },
    "completion": {
        "network": SEGMENTING,
        "view": whole(16),
        "zoom": number(1, most=4, required=True),
        "light": number(0, most=2, required=True),
        "gradient_weight": number(required=True),
        "margin": number(0, most=0.4, required=True),
        "highest": number(0.0001, most=1, required=True),
        "hiding": {"patch": whole(2), "ratio": number(0.01, 0.5, required=True)},
    },
    "variational": {
        "beta": number(required=True),
        "network": CONVOLUTIONAL,
        "contrast": {
            "gamma": number(required=True),
            "temperature": number(required=True),
            "queue": whole(required=True),
            "momentum": number(0, 1, required=True),
            "smallest_crop": number(0.01, 1, required=True),
            "colour": number(required=True),
        },
    },
}

OBJECTIVES["memory"] |= OBJECTIVES["defects"]

METHODS = {
    "simclr": {"temperature": number(required=True)},
    "moco": {"temperature": number(required=True), "queue": whole(required=True), "momentum": number(0, 1, required=True)},
    "byol": {"momentum": number(0, 1, required=True)},
    "swav": {
        "prototypes": whole(required=True),
        "temperature": number(required=True),
        "epsilon": number(required=True),
        "rounds": whole(required=True),
    },
    "vicreg": {"weights": NUMBERS},
}


def recipe_for(name, device):
    """The recipe that makes a model on a device: one in `recipes/cpu` where the model has it and there is
    no GPU, else the one of its name."""
    small = f"cpu/{name}"
    return small if device == "cpu" and (RECIPES / f"{small}.toml").exists() else name


def read(name):
    """A recipe as it is written. One with `base` is that recipe with its own keys in place, table by table;
    `settings`, which belong to a method, are replaced as a whole."""
    path = RECIPES / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(p.relative_to(RECIPES).with_suffix("").as_posix() for p in RECIPES.rglob("*.toml")))
        raise RecipeError(f"no recipe {name}; there are: {known}")
    try:
        settings = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name}: {error}") from None
    base = settings.pop("base", None)
    return merged(read(base), settings) if base else settings


def merged(base, changes):
    both = dict(base)
    for key, value in changes.items():
        deeper = isinstance(value, dict) and isinstance(base.get(key), dict) and key != "settings"
        both[key] = merged(base[key], value) if deeper else value
    return both


def recipe(name, changes=None):
    """Settings of a recipe with some keys changed, checked and complete: nothing further is derived from others."""
    settings = merged(read(name), changes or {})
    found = problems(settings)
    if not found:
        settings = completed(settings)
        found = contradictions(settings)
    if found:
        raise RecipeError("\n  ".join([f"recipe {name} cannot be trained by:", *found]))
    return settings


def problems(settings):
    """Unknown keys, missing ones, and values of another kind or out of range: one line each."""
    objective = settings.get("objective")
    rules = COMMON | OBJECTIVES.get(objective, {})
    if objective == "contrastive":
        rules = rules | {"settings": METHODS.get(settings.get("method"), {})}
    found = table_problems(settings, rules, "")
    variants = settings.get("variants", {})
    for name, variant in variants.items() if isinstance(variants, dict) else []:
        found += table_problems(variant, VARIANT, f"variants.{name}.")
    training = settings.get("training")
    return found + (schedule_problems(training, objective) if isinstance(training, dict) else [])


def table_problems(table, rules, prefix):
    if not isinstance(table, dict):
        return [f"{prefix.rstrip('.')} is not a table"]
    found = []
    for key, value in table.items():
        rule = rules.get(key)
        if key not in rules:
            close = difflib.get_close_matches(key, rules, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(rules) or 'none'}"
            found.append(f"{prefix}{key} is not a key; {hint}")
        elif isinstance(rule, dict):
            found += table_problems(value, rule, f"{prefix}{key}.")
        elif rule and (complaint := rule.complaint(value)):
            found.append(f"{prefix}{key} = {json.dumps(value)} {complaint}")
    missing = [key for key, rule in rules.items() if isinstance(rule, Rule) and rule.required and key not in table]
    return found + [f"{prefix}{key} is missing" for key in missing]


def schedule_problems(training, objective):
    """A schedule is phases, or epochs with a warm-up; a phase may change the augmentation of a contrastive recipe."""
    phases = training.get("phases", [])
    if not phases:
        needed = ("epochs", "learning_rate", "warmup_share")
        return [f"training.{key} is missing, and there are no phases" for key in needed if key not in training]
    if not isinstance(phases, list):
        return ["training.phases is not a list of tables"]
    rules = {"epochs": whole(required=True), "learning_rate": Rule((int, float), 0, many=True, required=True)}
    rules |= AUGMENTATION if objective == "contrastive" else {}
    found = []
    for index, phase in enumerate(phases):
        found += table_problems(phase, rules, f"training.phases[{index}].")
        if not found and len(phase["learning_rate"]) != 2:
            found.append(f"training.phases[{index}].learning_rate is not the first and the last of a phase")
    return found


def completed(settings):
    """Settings with all that follows from others: channels, patches, the size of views, a mean for each channel."""
    settings = merged({"data": "", "channels": "rgb"}, settings)
    if settings["objective"] == "masked":
        settings = merged({"masked": {"patch": settings["side"] // 8}}, settings)
    if settings["objective"] == "completion":
        settings = merged({"hiding": {"patch": max(2, settings["side"] // 16)}}, settings)
    if settings["objective"] in ("defects", "memory", "completion"):
        # three quarters of the side, or less where patches would be cut
        step = math.lcm(UNET_SIDES, settings.get("hiding", {}).get("patch", 1))
        settings = merged({"view": settings["side"] * 3 // 4 // step * step or settings["side"]}, settings)
    if settings["objective"] == "contrastive":
        settings = merged({"augmentation": {"crop_side": settings["side"]}}, settings)
    channels = CHANNELS[settings["channels"]]
    preprocess = dict(settings["preprocess"])
    if preprocess["resize"] == "shortest-edge":
        preprocess = {"edge": settings["side"], "crop": "center"} | preprocess
    for key in ("mean", "std"):
        if len(preprocess.get(key, ())) == 1:
            preprocess[key] = preprocess[key] * channels
    return settings | {"preprocess": preprocess}


def contradictions(settings):
    """Mismatches between several keys: one line each."""
    side, found = settings["side"], []
    if side % SIDES:
        found.append(f"side = {side} is not a multiple of {SIDES}")
    if settings["objective"] in ("defects", "memory", "completion") and side % UNET_SIDES:
        found.append(f"side = {side} is not a multiple of {UNET_SIDES}")
    if settings.get("view", 16) % UNET_SIDES or settings.get("view", 16) > side:
        found.append(f"view = {settings['view']} is not a multiple of {UNET_SIDES}, or more than side")
    channels, preprocess = CHANNELS[settings["channels"]], settings["preprocess"]
    cut = preprocess["resize"] == "shortest-edge"
    if cut and (preprocess["crop"] != "center" or preprocess["edge"] < side):
        found.append("preprocess.resize = shortest-edge needs crop = center and an edge that is no less than side")
    if not cut and ("edge" in preprocess or preprocess.get("crop", "none") != "none"):
        found.append(f"preprocess.edge and crop have no meaning with resize = {preprocess['resize']}")
    if ("mean" in preprocess) != ("std" in preprocess):
        found.append("preprocess has one of mean and std without the other")
    for key in ("mean", "std"):
        if len(preprocess.get(key, [0] * channels)) != channels:
            found.append(f"preprocess.{key} has not one number for each channel of {settings['channels']}, nor a single one for all")
    if settings["objective"] == "contrastive" and "mean" not in preprocess:
        found.append("preprocess.mean is missing, which contrastive recipes need")
    for table in ("masked", "hiding", "corruption"):
        patch = settings.get(table, {}).get("patch", 1)
        if settings.get("view", 0) % patch:
            found.append(f"view = {settings['view']} is not a multiple of {table}.patch = {patch}")
        if side % patch:
            found.append(f"side = {side} is not a multiple of {table}.patch = {patch}")
    network = settings.get("network", {})
    if settings["objective"] == "contrastive":
        shrunk, grid = 4 * network.get("stem_stride", 2), settings.get("served", {}).get("grid", 2)
        if side % (shrunk * grid):
            found.append(f"side = {side} is not a multiple of {shrunk * grid}, 4 times network.stem_stride times served.grid")
    for key in ("dim", "decoder_dim"):
        if settings["objective"] == "masked" and key in network:
            if network[key] % network.get("heads", 4) or network[key] % 4:
                found.append(f"network.{key} = {network[key]} is not a multiple of 4 and of network.heads")
    return found


def for_own_images(settings, name, folder, manifest):
    """A recipe's settings for images that are not those it was written for: the model is described by what the user says
    of it, never by the licence and the variants of another."""
    kept = {key: value for key, value in settings["manifest"].items() if key in ("family", "denoises")}
    what = settings["manifest"].get("description") if not settings["data"] else None
    described = {"description": f"{what or f'recipe {name}'}, trained on {folder.name}"}
    given = {key: value for key, value in manifest.items() if value}
    rest = {key: value for key, value in settings.items() if key not in ("variants", "groups", "start_from", "encoder_of")}
    return rest | {"manifest": kept | described | given, "data": str(folder)}


def trained_by(settings, epoch):
    """The part of the settings that weights after so many epochs came from. Phases that had not begun have
    no part in it: a run may be given another end."""
    kept = {key: value for key, value in settings.items() if key not in WITHOUT_EFFECT}
    training, before, begun = settings["training"], 0, []
    for phase in training.get("phases", []):
        if before < epoch:
            begun.append(phase)
        before += phase["epochs"]
    kept["training"] = {k: v for k, v in training.items() if k not in ("monitor_every", "phases")} | {"phases": begun}
    return kept


def canonical(settings):
    return json.dumps(settings, sort_keys=True)


def digest(settings):
    return hashlib.sha256(canonical(settings).encode()).hexdigest()


def differences(before, now, prefix=""):
    """The keys that differ, with both values: one line each."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            shown = ["not there" if value is None else json.dumps(value) for value in (old, new)]
            found.append(f"{prefix}{key} was {shown[0]} and is {shown[1]}")
    return found
