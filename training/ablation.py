"""The ablation of CR-VAE's contrastive term at two values of beta: `python -m training.ablation`.

Trains what is not there yet, exports the pair at the second beta below `training/runs` (it is not served), measures
the ONNX files as `training.evaluate` does and writes `ablation.json`, from which the table in `models/README.md` is made.
"""

import argparse
import json
from pathlib import Path

import torch

from training import evaluate, export, figures, images, recipes, sets, train
from training.served import Model

RECORDS = Path(__file__).resolve().parent / "ablation.json"
SHIPPED = ["vae-cifar10", "crvae-cifar10"]
BESIDE = ["vae-cifar10-beta2", "crvae-cifar10-beta2"]
KEPT = ["active_units", "kl_nats", "linear_probe_accuracy", "knn_accuracy", "reconstruction_psnr_db"]


def records():
    return json.loads(RECORDS.read_text()) if RECORDS.exists() else {}


def folder_of(name, models):
    return (models if name in SHIPPED else train.RUNS / "models") / name


def trained(name, data, device):
    settings = recipes.recipe(name)
    run = train.Run(name, settings, device)
    run.resume()
    run.train(*sets.load(data / settings["data"], settings, device))
    export.write(train.RUNS / "models" / name, settings, run.model)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    images.add_data_argument(parser)
    parser.add_argument("--only", choices=BESIDE, help="only train this one")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    for name in [asked.only] if asked.only else BESIDE:
        if not (folder_of(name, asked.models) / "model.toml").exists():
            trained(name, asked.data, train.pick_device(asked.device))
    if asked.only:
        return
    shipped = Model(folder_of(SHIPPED[0], asked.models))
    test, bank = (evaluate.load(asked.data / "cifar10" / f"{part}.tar", shipped) for part in ("val", "train"))
    kept = {}
    for name in SHIPPED + BESIDE:
        settings, found = recipes.recipe(name), figures.measure(Model(folder_of(name, asked.models)), test, bank, {})
        contrast = settings.get("contrast", {})
        kept[name] = {"beta": settings["beta"], "gamma": contrast.get("gamma", 0.0)} | {k: found[k] for k in KEPT}
        print(name, json.dumps(kept[name]), flush=True)
    RECORDS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
