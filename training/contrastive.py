"""One trainer for the methods that learn from two views of each image; the recipe's `method` picks.

All share the encoder, the projection head, the augmentations and the monitor, and differ in the loss
(losses.py) and in what they keep beside the network (momentum.py). Served is the encoder alone.
"""

import torch
import torch.nn.functional as F
from torch import nn

from training import augment, losses, metrics
from training.momentum import MomentumEncoder, Queue
from training.networks import Normalised, Projection, ResidualEmbedding, ResidualEncoder
from training.objective import Graph, Objective, channels_of


class Contrastive(Objective):
    """Views, embeddings and graphs; `compare` of two batches of views is the method."""

    def __init__(self, settings):
        super().__init__()
        self.normalise = Normalised(settings["preprocess"]["mean"], settings["preprocess"]["std"])
        self.encoder = ResidualEncoder(**settings["network"], channels=channels_of(settings))
        self.head = Projection(self.encoder.dim, **settings["head"])
        self.augmentation = settings["augmentation"]
        self.settings = settings.get("settings", {})
        self.served = settings.get("served", {})

    def enter(self, phase):
        self.augmentation = self.augmentation | phase

    def parts(self):
        return [self.encoder]

    def view(self, images, generator):
        settings = self.augmentation
        cropped = augment.crop_and_flip(
            images, generator, settings["smallest_crop"], settings["crop_side"]
        )
        jittered = augment.jitter_colours(cropped, generator, settings["colour"])
        return self.normalise(jittered).contiguous(memory_format=torch.channels_last)

    def loss(self, images, generator):
        """Both views are made at once."""
        with torch.autocast(images.device.type, enabled=False):
            views = self.view(torch.cat([images, images]), generator)
        return self.compare(*views.chunk(2))

    def compare(self, first, second):
        raise NotImplementedError

    def project(self, first, second):
        """Projections of both views; batch statistics are of all of them together."""
        return self.head(self.encoder(torch.cat([first, second]))).chunk(2)

    def embed(self, images):
        parts = [self.encoder(self.normalise(p.float() / 255)).float() for p in images.split(500)]
        return F.normalize(torch.cat(parts), dim=1)

    def monitor(self, validation, bank):
        """kNN accuracy of the encoder's output for the validation images, against some of the training images; nothing
        where there are no classes."""
        if len(torch.cat([validation[1], bank[1]]).unique()) < 2:
            return {}
        accuracy = metrics.knn_accuracy(self.embed(validation[0]), validation[1], self.embed(bank[0]), bank[1])
        return {"validation_knn_accuracy": accuracy}

    def graphs(self):
        return [Graph("encoder", ResidualEmbedding(self.encoder, **self.served), ["image"], ["embedding"])]


class SimCLR(Contrastive):
    """InfoNCE with the negatives of the batch (arXiv 2002.05709)."""

    def compare(self, first, second):
        return losses.info_nce(*self.project(first, second), self.settings["temperature"])


class MoCo(Contrastive):
    """InfoNCE against the keys of an EMA (momentum) encoder, negatives from a queue (arXiv 1911.05722,
    with the head of 2003.04297). The keys' batch is not shuffled between devices: there is one."""

    def __init__(self, settings):
        super().__init__(settings)
        self.momentum_encoder = MomentumEncoder(nn.Sequential(self.encoder, self.head))
        self.queue = Queue(self.settings["queue"], settings["head"]["outside"])

    def compare(self, first, second):
        self.momentum_encoder.update(nn.Sequential(self.encoder, self.head), self.settings["momentum"])
        keys = self.momentum_encoder(second)
        loss = losses.queue_info_nce(
            self.head(self.encoder(first)), keys, self.queue.keys.clone(), self.settings["temperature"]
        )
        self.queue.push(keys)
        return loss


class BYOL(Contrastive):
    """Each view's prediction of the EMA encoder's projection of the other, no negatives (arXiv 2006.07733).
    The momentum is constant; the paper raises it to 1 over the run."""

    def __init__(self, settings):
        super().__init__(settings)
        self.momentum_encoder = MomentumEncoder(nn.Sequential(self.encoder, self.head))
        outside = settings["head"]["outside"]
        self.predictor = Projection(outside, settings["head"]["hidden"], outside)

    def compare(self, first, second):
        self.momentum_encoder.update(nn.Sequential(self.encoder, self.head), self.settings["momentum"])
        targets = self.momentum_encoder(torch.cat([second, first]))
        return losses.byol(self.predictor(torch.cat(self.project(first, second))), targets)


class SwAV(Contrastive):
    """Each view predicts the other's soft cluster; clusters are prototypes of length 1 that share the
    batch evenly (arXiv 2006.09882, two views, no smaller ones, no queue of old scores)."""

    def __init__(self, settings):
        super().__init__(settings)
        self.prototypes = nn.Linear(settings["head"]["outside"], self.settings["prototypes"], bias=False)

    def compare(self, first, second):
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        scores = [self.prototypes(F.normalize(p.float(), dim=1)) for p in self.project(first, second)]
        assigned = [losses.sinkhorn(s, self.settings["epsilon"], self.settings["rounds"]) for s in scores]
        crossed = zip(assigned, reversed(scores))
        return sum(losses.swap(plan, other, self.settings["temperature"]) for plan, other in crossed) / 2


class VICReg(Contrastive):
    """Equal projections of both views whose dimensions vary and do not covary (arXiv 2105.04906)."""

    def compare(self, first, second):
        return losses.vicreg(*self.project(first, second), self.settings["weights"])


METHODS = {"simclr": SimCLR, "moco": MoCo, "byol": BYOL, "swav": SwAV, "vicreg": VICReg}


def build(settings):
    return METHODS[settings["method"]](settings)
