"""Measure the ONNX files of `models/`: `python -m training.evaluate [NAME ...]`.

Writes `metrics.json` into each model folder and, for the models of this repository, the tables of `models/README.md`.
They are measured on the test set `val.tar` of the set that they were trained on; a model of one's own images (`--data
FOLDER`) on the validation images that its training did not see. Where there are masks of defects, beside the images of
`val.tar` or in `--masks`, and of detectors in any case, the figures are those of finding defects (detecting.py). `--sheets DIR` also writes contact sheets to look at; `--tables` only makes the tables again.
"""

import argparse
import json
from datetime import date
from pathlib import Path

import onnxruntime
import torch

from training import defect_sets, detecting, figures, images, sets, sheets, tables
from training.served import Model

NOTE = "images re-encoded as JPEG: figures differ slightly from those on the original PNG pixels"


def arguments(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="model folders (default: all)")
    images.add_data_argument(parser)
    parser.add_argument("--set", help="data set below --data with train.tar and val.tar (default: the one it was trained on)")
    parser.add_argument("--bad", type=Path, help="a folder of images that scores should tell from those of --data")
    parser.add_argument("--masks", type=Path, help="a folder of masks for the images of --bad, named as those")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    parser.add_argument("--sheets", type=Path, help="write contact sheets into this folder")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    parser.add_argument("--tables", action="store_true", help="only write models/README.md from metrics.json")
    return parser.parse_args(words)


def main(words=None):
    asked = arguments(words)
    if asked.tables:
        return tables.write(asked.models)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    names = asked.names or sorted(p.parent.name for p in asked.models.glob("*/model.toml"))
    raw, shipped = {}, False
    for name in names:
        model = Model(asked.models / name)
        set_ = asked.set or set_of(model)
        source, named = images.source_of(asked.data, f"{set_}/val.tar")
        if named and defect_sets.has_masks(source):
            record = described(model, *detecting.measure_on_set(model, asked.data, set_))
        elif named:
            record = measure_on_sets(asked, model, set_, raw)
        elif detecting.detects(model) or asked.masks:
            record = described(model, *detecting.measure_on_folder(model, source, asked.bad, asked.masks))
        else:
            record = measure_on_folder(asked, model, source)
        if asked.sheets and detecting.detects(model):
            data = load(source, model)[0]
            sheets.map_sheet(model, data, detecting.metrics_of(model)[0], asked.sheets)
        (asked.models / name / "metrics.json").write_text(json.dumps(record, indent=1) + "\n")
        print(name, json.dumps(record["figures"]), flush=True)
        shipped |= named
    if shipped:
        tables.write(asked.models)


def set_of(model):
    """The set that a model was trained on, as its record says; that of the first models where it says nothing."""
    path = model.folder / "training.json"
    data = json.loads(path.read_text())["data"] if path.exists() else ""
    return data.rpartition("/")[0] or "cifar10"


def measure_on_sets(asked, model, set_, raw):
    """The record of one of the models of this repository, by a test set and a training set in archives of their own."""
    test, train = (load(asked.data / set_ / f"{part}.tar", model) for part in ("val", "train"))
    if not raw and "embedding" in model.manifest:
        raw |= figures.raw_pixel_figures(test, train)
    if asked.sheets:
        sheets.contact_sheets(model, test, train, asked.sheets)
    about = {
        "evaluated_on": f"{set_}/val.tar, {len(test[0])} images",
        "bank": f"{set_}/train.tar, {len(train[0])} images",
        "note": NOTE,
    }
    return described(model, about, figures.measure(model, test, train, raw))


def measure_on_folder(asked, model, source):
    """The record of a model of one's own images, by those of them that its training did not see."""
    data, labels = load(source, model)
    count = images.validation_count(len(data), validation_images(model))
    train, test = ((data[index.numpy()], labels[index]) for index in sets.split(len(data), count))
    found = figures.measure(model, test, train, {})
    if asked.bad:
        found |= figures.anomaly_figures(model, test[0], load(asked.bad, model)[0], train[0])
    if asked.sheets:
        sheets.contact_sheets(model, test, train, asked.sheets)
    about = {"evaluated_on": f"{source.resolve().name}, {count} validation images", "bank": f"the other {len(train[0])} images"}
    return described(model, about, found)


def validation_images(model):
    """The size of the validation set of the model's training, where its recipe says it; None: a tenth."""
    path = model.folder / "training.json"
    return json.loads(path.read_text())["training"].get("validation_images") if path.exists() else None


def described(model, about, found):
    return {
        "command": f"python -m training.evaluate {model.folder.name}",
        "date": date.today().isoformat(),
        "runtime": f"onnxruntime {onnxruntime.__version__}, CPU",
        **about,
        "figures": found,
    }


def load(path, model):
    """A set as the model takes it: u8 images and labels."""
    data, labels = images.load(path, model.manifest)
    return data, torch.from_numpy(labels)


if __name__ == "__main__":
    main()
