"""Train one model and export it: `python -m training.train NAME`."""

import argparse
import json
import platform
import time
from datetime import date
from pathlib import Path

import torch

from training import export, images, objective, schedule
from training.muon import Muon

RUNS = Path(__file__).resolve().parent / "runs"
MONITOR_BANK = 10_000


def optimiser_for(model, settings):
    """AdamW, or Muon where the recipe says so. Biases and normalisation weights are not decayed; with
    Muon they have Adam's rate, `vector_rate` times the schedule's."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings["weight_decay"], "share": 1.0},
        {"params": vectors, "weight_decay": 0.0, "share": settings.get("vector_rate", 1.0)},
    ]
    if settings.get("optimiser") == "muon":
        groups[0]["orthogonal"] = True
        return Muon(groups)
    return torch.optim.AdamW(groups, lr=0.0)


class Run:
    """One training run: what a checkpoint holds, and the loop over epochs."""

    def __init__(self, name, settings, device):
        self.folder = RUNS / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings, self.device = settings, device
        # TF32 on GPUs: enough for gradients, and several times as fast
        torch.set_float32_matmul_precision("high")
        torch.manual_seed(settings["training"]["seed"])
        self.model = objective.build(settings).to(device, memory_format=torch.channels_last)
        self.optimiser = optimiser_for(self.model, settings["training"])
        self.epoch, self.curve = 0, []

    def resume(self):
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.curve = state["epoch"], state["curve"]
        print(f"resumed after epoch {self.epoch} from {path}")

    def save(self):
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "curve": self.curve,
        }
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.folder / "checkpoint.pt")

    def autocast(self):
        precision = self.settings["training"]["precision"]
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")

    def compile(self):
        """Lets PyTorch compile what training runs most. Worth its half a minute where a run is long."""
        for part in self.model.parts():
            part.compile(dynamic=False)

    def train(self, train, validation, bank, stop_after=None):
        """Monitors and saves after each `monitor_every`-th epoch, and after the last."""
        training = self.settings["training"]
        epochs = schedule.total_epochs(training)
        last = min(epochs, stop_after or epochs)
        started = time.perf_counter()
        while self.epoch < last:
            loss = self.one_epoch(train, epochs)
            self.epoch += 1
            if self.epoch % training.get("monitor_every", 1) and self.epoch < last:
                continue
            row = {"epoch": self.epoch, "loss": loss, **self.figures(validation, bank)}
            row["wall_seconds"] = time.perf_counter() - started
            self.curve.append(row)
            self.save()
            print(json.dumps({k: round(v, 6) for k, v in row.items()}), flush=True)
            started = time.perf_counter()

    @torch.no_grad()
    def figures(self, validation, bank):
        self.model.eval()
        with torch.compiler.set_stance("force_eager"):
            return self.model.monitor(validation, bank)

    def one_epoch(self, train, epochs):
        """Every random number of an epoch comes from the recipe's seed and the epoch's number, so a
        resumed run is the run that was not interrupted."""
        training = self.settings["training"]
        generator = torch.Generator(self.device).manual_seed(training["seed"] * 1000 + self.epoch)
        order = torch.randperm(len(train), generator=generator, device=self.device)
        batches = order[: len(order) // training["batch"] * training["batch"]].split(training["batch"])
        self.model.train()
        self.model.enter(schedule.overrides(training, self.epoch))
        total, started = torch.zeros((), device=self.device), time.perf_counter()
        for step, index in enumerate(batches):
            rate = schedule.learning_rate(training, self.epoch, step / len(batches))
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            batch = train[index].float().div(255).contiguous(memory_format=torch.channels_last)
            with self.autocast():
                loss = self.model.loss(batch, generator)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            total += loss.detach()
            if (step + 1) % 25 == 0 or step + 1 == len(batches):
                mean = total.item() / (step + 1)
                speed = (step + 1) * len(index) / (time.perf_counter() - started)
                print(
                    f"epoch {self.epoch + 1}/{epochs} step {step + 1}/{len(batches)} "
                    f"loss {mean:.5f} {speed:.0f} images/s",
                    flush=True,
                )
        return mean


def record_of(settings, curve, device):
    """How weights came about: settings, machine, learning curve."""
    where = f"CPU ({platform.machine()}), threads: {torch.get_num_threads()}"
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else where,
        "torch": torch.__version__,
        "data": settings["data"],
        "training": settings["training"],
        "wall_seconds": round(sum(row["wall_seconds"] for row in curve), 1),
        "curve": [{k: round(v, 6) for k, v in row.items()} for row in curve],
    }


def load_data(folder, settings, device):
    """The training images, the validation set, and a bank for the kNN monitor; the last two with labels."""
    data, labels = images.load(folder / settings["data"], settings["side"])
    data, labels = data.to(device), labels.to(device)
    trained, validation = (i.to(device) for i in images.split(len(data), settings["training"]["validation_images"]))
    bank = trained[:MONITOR_BANK]
    return data[trained], (data[validation], labels[validation]), (data[bank], labels[bank])


def pick_device(asked):
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(asked)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a model: the name of a recipe in training/recipes")
    parser.add_argument("--recipe", help="another recipe for it (default: cpu/NAME without a GPU where there is one, else NAME)")
    images.add_data_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    parser.add_argument("--stop-after", type=int, help="stop after so many epochs in all, on the recipe's schedule")
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint")
    parser.add_argument("--compile", action="store_true", help="compile the networks: for long runs on a GPU")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    recipe = arguments.recipe or objective.recipe_for(arguments.name, device)
    settings = objective.recipe(recipe)
    run = Run(recipe, settings, device)
    if not arguments.fresh:
        run.resume()
    data = load_data(arguments.data, settings, device)
    count = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    print(f"{recipe}: {count / 1e6:.2f} million parameters, {len(data[0])} images, {device}", flush=True)
    if arguments.compile:
        run.compile()
    run.train(*data, arguments.stop_after)
    record = json.dumps({"recipe": recipe} | record_of(settings, run.curve, device), indent=1)
    (arguments.models / arguments.name).mkdir(parents=True, exist_ok=True)
    (arguments.models / arguments.name / "training.json").write_text(record + "\n")
    # another object, for a compiled one cannot be exported
    run.model, trained = objective.build(settings), run.model.state_dict()
    run.model.load_state_dict(trained)
    export.write(arguments.name, settings, run.model, arguments.models)


if __name__ == "__main__":
    main()
