"""Train one model and export it: `python -m training.train NAME`.

    python -m training.train ae-cifar10                                   # a recipe of its own, on the set that it names
    python -m training.train mine --recipe ae --data photos --side 64     # a general recipe, on a folder of images
"""

import argparse
import json
import platform
import re
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from training import export, images, objective, recipes, schedule, sets
from training.muon import Muon

# More hashes than these would make a record larger than a model.
LISTED = 10_000
RUNS = Path(__file__).resolve().parent / "runs"
# What the server takes as a model's name.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


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


def batch_size(training, count):
    """Images of a step: as many as the recipe says, or all of a set that has fewer."""
    return min(training["batch"], count)


def check_recipe(path, state, settings):
    """Refuses a checkpoint whose weights came from other settings than these, and names the keys that changed."""
    now = recipes.trained_by(settings, state["epoch"])
    if "recipe" not in state:
        found = ["it does not say by which"]
    elif state["recipe_sha256"] == recipes.digest(now):
        return
    else:
        found = recipes.differences(json.loads(state["recipe"]), now)
    lines = [f"the checkpoint {path} was trained by another recipe:", *found]
    raise recipes.RecipeError("\n  ".join(lines) + "\nPut that back, or begin anew with --restart (or without the file).")


class Run:
    """One training run: what is in a checkpoint, and the loop over epochs."""

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

    @property
    def checkpoint(self):
        return self.folder / "checkpoint.pt"

    def resume(self):
        """Goes on from the checkpoint, if there is one and this recipe made it."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        # before the weights are loaded, which may have other shapes under another recipe
        check_recipe(self.checkpoint, state, self.settings)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.curve = state["epoch"], state["curve"]
        print(f"resumed after epoch {self.epoch} from {self.checkpoint}")

    def take_over(self, name, sets_):
        """Takes the weights of another run in place of training, and makes what depends on images with them."""
        self.start_from(name)
        self.hold(self.model.settle, sets_.validation)
        self.hold(self.model.finish, sets_.train)
        self.save()

    def start_from(self, name):
        """Takes the weights of the network of another run."""
        path = RUNS / name / "checkpoint.pt"
        if not path.exists():
            raise SystemExit(f"there is no checkpoint {path}: run python -m training.train {name}")
        state = torch.load(path, map_location=self.device, weights_only=True)
        weights = {key.removeprefix("network."): value for key, value in state["model"].items() if key.startswith("network.")}
        try:
            self.model.network.load_state_dict(weights)
        except RuntimeError as error:
            raise SystemExit(f"the checkpoint {path} has another network: {error}") from None

    def save(self):
        trained_by = recipes.trained_by(self.settings, self.epoch)
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "curve": self.curve,
            "recipe": recipes.canonical(trained_by),
            "recipe_sha256": recipes.digest(trained_by),
            "settings": recipes.canonical(self.settings),
        }
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.checkpoint)

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
            self.hold(self.model.settle, validation)
            if self.epoch == last:
                self.hold(self.model.finish, train)
            row = {"epoch": self.epoch, "loss": loss, **self.hold(self.model.monitor, validation, bank)}
            row["wall_seconds"] = time.perf_counter() - started
            self.curve.append(row)
            self.save()
            print(json.dumps({k: round(v, 6) for k, v in row.items()}), flush=True)
            started = time.perf_counter()

    @torch.no_grad()
    def hold(self, call, *given):
        """Calls a method of the objective with its networks as they are served."""
        self.model.eval()
        with torch.compiler.set_stance("force_eager"):
            return call(*given)

    def one_epoch(self, train, epochs):
        """Every random number of an epoch comes from the recipe's seed and the epoch's number, so a
        resumed run is the run that was not interrupted. What a whole number of batches leaves over has its turn in
        other epochs, whose order is another."""
        training = self.settings["training"]
        generator = torch.Generator(self.device).manual_seed(training["seed"] * 1000 + self.epoch)
        order = torch.randperm(len(train), generator=generator, device=self.device)
        size = batch_size(training, len(train))
        batches = order[: len(order) // size * size].split(size)
        self.model.train()
        self.model.enter(schedule.overrides(training, self.epoch))
        total, started = torch.zeros((), device=self.device), time.perf_counter()
        for step, index in enumerate(batches):
            # in the middle of the step: at its beginning the rate of an only step would be the warm-up's first, 0
            rate = schedule.learning_rate(training, self.epoch, (step + 0.5) / len(batches))
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            total += self.step(train[index], generator)
            if (step + 1) % 25 == 0 or step + 1 == len(batches):
                mean = total.item() / (step + 1)
                speed = (step + 1) * len(index) / (time.perf_counter() - started)
                print(
                    f"epoch {self.epoch + 1}/{epochs} step {step + 1}/{len(batches)} "
                    f"loss {mean:.5f} {speed:.0f} images/s",
                    flush=True,
                )
        return mean

    def step(self, images_u8, generator):
        """One step of the optimiser; returns the loss."""
        batch = images_u8.float().div(255).contiguous(memory_format=torch.channels_last)
        with self.autocast():
            loss = self.model.loss(batch, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach()


def train_earlier(name, folder, device):
    """Trains by the recipe whose weights another one takes, unless there is a checkpoint of it."""
    settings = recipes.recipe(name)
    run = Run(name, settings, device)
    if run.checkpoint.exists():
        return
    print(f"{name} first", flush=True)
    if "start_from" in settings:
        train_earlier(settings["start_from"], folder, device)
        run.start_from(settings["start_from"])
    run.train(*sets.load(folder / settings["data"], settings, device))


def data_of(settings):
    """The data as a record names it: of a folder of one's own the name alone."""
    data = Path(settings["data"])
    return data.name if data.is_absolute() else settings["data"]


def check_place(folder, settings):
    """Refuses to put a model in the place of one that was trained on other images, whose card and name it would take."""
    path = folder / "training.json"
    before = json.loads(path.read_text())["data"] if path.exists() else data_of(settings)
    if before != data_of(settings):
        raise SystemExit(f"{folder} was trained on {before}, not on {data_of(settings)}: take another name, or remove it first")


def record_of(settings, curve, device, hashes=()):
    """The record of how weights came about: settings, machine, learning curve, and of sets that are not large the BLAKE3
    hash of the file of each training image, by which a calibration can refuse them: their scores are too low."""
    where = f"CPU ({platform.machine()}), threads: {torch.get_num_threads()}"
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else where,
        "torch": torch.__version__,
        "data": data_of(settings),
        "training": settings["training"],
        "wall_seconds": round(sum(row["wall_seconds"] for row in curve), 1),
        "curve": [{k: round(v, 6) for k, v in row.items()} for row in curve],
    } | ({"images_blake3": sorted(hashes)} if 0 < len(hashes) <= LISTED else {})


def pick_device(asked):
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(asked)


def changes_of(arguments):
    """The changes of the recipe that the flags ask for."""
    changes = {key: getattr(arguments, key) for key in ("side", "channels") if getattr(arguments, key)}
    if arguments.fit:
        changes["preprocess"] = recipes.FITS[arguments.fit]
    if arguments.epochs:
        changes["training"] = {"epochs": arguments.epochs, "phases": []}
    return changes


@dataclass(frozen=True)
class Task:
    """A task of training: the name of its checkpoints, its settings, and its images."""

    run: str
    recipe: str
    settings: dict
    source: Path


def task_of(arguments, device):
    """The task that the flags ask for."""
    if not NAME.fullmatch(arguments.name):
        raise SystemExit(f"{arguments.name} cannot be a model's name: small letters, digits, dots, dashes, 64 at most, no dash or dot first")
    recipe = arguments.recipe or recipes.recipe_for(arguments.name, device.type)
    settings = recipes.recipe(recipe, changes_of(arguments))
    source, named = images.source_of(arguments.data, settings["data"])
    if named:
        return Task(recipe, recipe, settings, source)
    said = {"description": arguments.description, "license": arguments.license}
    return Task(arguments.name, recipe, recipes.for_own_images(settings, recipe, source.resolve(), said), source)


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the model: the name of a recipe in training/recipes, or another one with --recipe")
    parser.add_argument("--recipe", help="another recipe for it (default: cpu/NAME without a GPU where there is one, else NAME)")
    images.add_data_argument(parser)
    parser.add_argument("--side", type=int, help="pixels a side of what the model takes (default: the recipe's)")
    parser.add_argument("--channels", choices=recipes.CHANNELS, help="of what the model takes (default: the recipe's)")
    parser.add_argument("--fit", choices=recipes.FITS, help="how images become squares (default: the recipe's)")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's, with a warm-up and a falling rate")
    parser.add_argument("--description", help="of a model of one's own images")
    parser.add_argument("--license", help="of a model of one's own images")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all cores)")
    parser.add_argument("--stop-after", type=int, help="stop after so many epochs in all, on the recipe's schedule")
    parser.add_argument("--restart", action="store_true", help="begin anew, whatever checkpoint there is")
    parser.add_argument("--compile", action="store_true", help="compile the networks: for long runs on a GPU")
    parser.add_argument("--models", type=Path, default=images.REPOSITORY / "models")
    return parser


def main(words=None):
    arguments = parser().parse_args(words)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    task = task_of(arguments, device)
    check_place(arguments.models / arguments.name, task.settings)
    run = Run(task.run, task.settings, device)
    source, first = (task.settings.get(key) for key in ("encoder_of", "start_from"))
    if not arguments.restart and not source:
        run.resume()
    for earlier in filter(None, (first, source)):
        train_earlier(earlier, arguments.data, device)
    if first and run.epoch == 0:
        run.start_from(first)
    data = sets.load(task.source, task.settings, device)
    count = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    print(
        f"{task.recipe}: {count / 1e6:.2f} million parameters, {len(data.train)} images, {len(data.validation[0])} more for validation, {device}",
        flush=True,
    )
    if len(data.train) < task.settings["training"]["batch"]:
        print(f"fewer images than a batch of {task.settings['training']['batch']}: all of them are one", flush=True)
    if arguments.compile:
        run.compile()
    if source:
        run.take_over(source, data)
    else:
        run.train(*data, arguments.stop_after)
    record = {"recipe": task.recipe} | record_of(task.settings, run.curve, device, data.hashes)
    # another object, for a compiled one cannot be exported
    trained = objective.build(task.settings)
    trained.load_state_dict(run.model.state_dict())
    export.write(arguments.models / arguments.name, task.settings, trained, record)


if __name__ == "__main__":
    main()
