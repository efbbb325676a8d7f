"""Measure the ONNX files of `models/` on the validation set: `python -m training.evaluate [NAME ...]`.

Writes `metrics.json` into each model folder and the tables of `models/README.md`. `--sheets DIR` also
writes contact sheets to look at; `--tables` only makes the tables again.
"""

import argparse
import json
from datetime import date
from pathlib import Path

import onnxruntime
import torch

from training import figures, images, sheets, tables
from training.served import Model

NOTE = "images re-encoded as JPEG: figures differ slightly from those on the original PNG pixels"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="model folders (default: all)")
    images.add_data_argument(parser)
    parser.add_argument("--set", default="cifar10", help="data set below --data with train.tar and val.tar")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    parser.add_argument("--sheets", type=Path, help="write contact sheets into this folder")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    parser.add_argument("--tables", action="store_true", help="only write models/README.md from metrics.json")
    return parser.parse_args()


def main():
    asked = arguments()
    if asked.tables:
        return tables.write(asked.models)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    names = asked.names or sorted(p.parent.name for p in asked.models.glob("*/model.toml"))
    val, train = (load(asked.data / asked.set / f"{part}.tar") for part in ("val", "train"))
    raw = None
    for name in names:
        model = Model(asked.models / name)
        if raw is None and "embedding" in model.manifest:
            raw = figures.raw_pixel_figures(val, train)
        record = {
            "command": f"python -m training.evaluate {name}",
            "date": date.today().isoformat(),
            "runtime": f"onnxruntime {onnxruntime.__version__}, CPU",
            "evaluated_on": f"{asked.set}/val.tar, {len(val[0])} images",
            "bank": f"{asked.set}/train.tar, {len(train[0])} images",
            "note": NOTE,
            "figures": figures.measure(model, val, train, raw or {}),
        }
        (asked.models / name / "metrics.json").write_text(json.dumps(record, indent=1) + "\n")
        print(name, json.dumps(record["figures"]), flush=True)
        if asked.sheets:
            sheets.contact_sheets(model, val, train, asked.sheets)
    tables.write(asked.models)


def load(path):
    data, labels = images.load(path, 32)
    return data.numpy(), labels


if __name__ == "__main__":
    main()
