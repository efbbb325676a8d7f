"""Run the contrastive methods for the same number of steps: `python -m training.compare [NAME ...]`.

`comparison.toml` says which recipes and for how long; each run's record goes into `comparison.json`, from
which `python -m training.evaluate` makes the table in `models/README.md`. Runs that are done are kept.
"""

import argparse
import json
import tomllib
from pathlib import Path

import torch

from training import images, recipes, sets, train

FOLDER = Path(__file__).resolve().parent
RECORDS = FOLDER / "comparison.json"


def settings_of(name, comparison):
    """A recipe with the comparison's schedule and views."""
    settings = recipes.recipe(name)
    training = {k: v for k, v in settings["training"].items() if k != "phases"}
    settings["training"] = training | comparison["schedule"]
    settings["augmentation"] = settings["augmentation"] | comparison["augmentation"]
    return settings


def records():
    """The records that are kept. Those of before call the validation images `held_back`."""
    if not RECORDS.exists():
        return {}
    return json.loads(RECORDS.read_text().replace('"held_back_', '"validation_'))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="recipes (default: those of comparison.toml)")
    images.add_data_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    comparison = tomllib.loads((FOLDER / "comparison.toml").read_text())
    for name in arguments.names or comparison["names"]:
        settings = settings_of(name, comparison)
        run = train.Run(f"compare-{name}", settings, train.pick_device(arguments.device))
        run.resume()
        data = sets.load(arguments.data / settings["data"], settings, run.device)
        run.train(*data)
        batch = train.batch_size(settings["training"], len(data.train))
        steps = len(data.train) // batch * settings["training"]["epochs"]
        record = train.record_of(settings, run.curve, run.device)
        kept = records() | {name: {"method": settings["method"], "steps": steps, **record}}
        RECORDS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
