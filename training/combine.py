"""Combine the scores of several detectors: `python -m training.combine MODEL:METRIC:POOLING[:SIGMA] …`.

    python -m training.combine tile-defects:graph:own tile-memory:patch-knn:max tile-mae:gms:max:4

Each score becomes a p-value beside those of the training set's images that the models were not trained on; the sum of
-log p is the score of all of them together (Fisher's combination). Its figures on the test set go into
`training/combination.json`, from which `python -m training.evaluate --tables` makes a row of `models/README.md`.
"""

import argparse
import json
from datetime import date
from pathlib import Path

import numpy as np

from training import defect_sets, detecting, detection, images, scores
from training.served import Model

RECORD = Path(__file__).resolve().parent / "combination.json"


def scoring_of(text):
    """`MODEL:METRIC:POOLING[:SIGMA]`, where a pooling may be `top:SHARE`: the model's name, and how it scores."""
    name, metric, *rest = text.split(":")
    pooling = f"top:{rest.pop(1)}" if rest[0] == "top" else rest[0]
    return name, scores.Scoring(metric, float(rest[1]) if len(rest) > 1 else 0.0, pooling)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scores", nargs="+", help="MODEL:METRIC:POOLING[:SIGMA]")
    images.add_data_argument(parser)
    parser.add_argument("--set", default="magnetic-tile", help="data set below --data with train.tar and val.tar")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    asked = parser.parse_args(words)
    normal, found = [], []
    for text in asked.scores:
        name, scoring = scoring_of(text)
        model = Model(asked.models / name)
        read = images.read(asked.data / asked.set / "train.tar", model.manifest, hashed=True)
        validation = read.data[detecting.held_out(model, read)]
        test = defect_sets.archive(asked.data / asked.set / "val.tar", model.manifest, detecting.groups_of(model))
        normal.append(scores.scores_of(model, validation, scoring))
        found.append(scores.scores_of(model, test.data, scoring))
    figures = detecting.rounded(detection.image_figures(test, detection.combined(normal, found)))
    record = {
        "command": f"python -m training.combine {' '.join(asked.scores)}",
        "date": date.today().isoformat(),
        "evaluated_on": f"{asked.set}/val.tar",
        "p_values_beside": f"{len(normal[0])} images of {asked.set}/train.tar that were not trained on",
        "scores": asked.scores,
        "image_auroc_of_each": [round(detection.auroc(test.truth, np.asarray(one)), 6) for one in found],
        "figures": figures,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["figures"]))


if __name__ == "__main__":
    main()
