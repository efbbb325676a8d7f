"""Learning rates over a run: a warm-up with a cosine, or phases that say all of it.

A recipe with `epochs` warms up linearly over `warmup_share` of them and falls to zero along a cosine.
A recipe with `[[training.phases]]` runs one phase after the other; each has

    epochs          how many
    learning_rate   [first, last], linear in between
    anything else   given to the objective when the phase begins (the size of views, for instance)

A constant phase followed by a falling one lets a run be ended when time is up without knowing at its
start when that will be: only the phases not yet begun are changed.
"""

import math


def phases(training):
    return training.get("phases", [])


def total_epochs(training):
    return sum(p["epochs"] for p in phases(training)) or training["epochs"]


def phase_at(training, epoch):
    """The phase of an epoch counted from 0, and how many epochs came before that phase."""
    before = 0
    for phase in phases(training):
        if epoch < before + phase["epochs"]:
            return phase, before
        before += phase["epochs"]
    raise ValueError(f"epoch {epoch} is after the last phase")


def learning_rate(training, epoch, share):
    """The rate when `share` (0..1) of the epoch is done."""
    if phases(training):
        phase, before = phase_at(training, epoch)
        first, last = phase["learning_rate"]
        return first + (last - first) * (epoch - before + share) / phase["epochs"]
    progress, warm = (epoch + share) / training["epochs"], training["warmup_share"]
    if progress < warm:
        return training["learning_rate"] * progress / warm
    return training["learning_rate"] * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


def overrides(training, epoch):
    """The settings of the objective that the phase of this epoch changes."""
    if not phases(training):
        return {}
    phase, _ = phase_at(training, epoch)
    return {k: v for k, v in phase.items() if k not in ("epochs", "learning_rate")}
