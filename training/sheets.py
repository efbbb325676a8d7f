"""Contact sheets: what the figures are of, to look at. They show images of the data set and are not for
committing; a sheet of generated images shows none."""

import numpy as np
from PIL import Image

from training import scores, served
from training.figures import HIDDEN_SHARE, SIGMAS, noisy_copy
from training.served import unit

COLUMNS = 20


def sheet(rows, path, zoom=3):
    """Rows of images [n, channels, h, w] in 0..1, one under the other, as a PNG."""
    grid = np.concatenate([np.concatenate(list(r), axis=2) for r in rows], axis=1)
    grid = grid.repeat(3, axis=0) if len(grid) == 1 else grid
    image = Image.fromarray((grid.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST).save(path)
    print(f"wrote {path}")


def map_sheet(model, data, metric, folder):
    """Images, and their maps by a metric beside the highest value of all of them."""
    some = data[:: max(1, len(data) // COLUMNS)][:COLUMNS]
    maps = scores.maps_of(model, some, metric)[:, None]
    maps = np.repeat(maps / max(float(maps.max()), 1e-9), some.shape[1], 1)
    sheet([unit(some), maps], folder / f"{model.folder.name}-maps.png", zoom=1)


def contact_sheets(model, test, train, folder):
    name = model.folder.name
    some = test[0][:: max(1, len(test[0]) // COLUMNS)][:COLUMNS]
    if model.reconstructs():
        sheet([unit(some), model.reconstruct(some)], folder / f"{name}-reconstructions.png")
    if model.has("masked"):
        masked_sheet(model, some, folder / f"{name}-completed.png")
    if model.has("autoencoder"):
        rows = [unit(some)]
        for sigma in SIGMAS:
            noisy = noisy_copy(some, sigma)
            rows += [unit(noisy), model.denoise(noisy)]
        sheet(rows, folder / f"{name}-denoised.png")
    if model.has("encoder"):
        nearest = (model.embed(some) @ model.embed(train[0]).T).topk(8, dim=1).indices.numpy()
        rows = [unit(some)] + [unit(train[0][nearest[:, k]]) for k in range(8)]
        sheet(rows, folder / f"{name}-neighbours.png")
    if model.family == "variational":
        sheet(generated(model), folder / f"{name}-generated.png")


def masked_sheet(model, some, path):
    """Originals, what is shown of them with grey for the hidden patches, and the completion."""
    mask = served.random_masks(len(some), model.patches, HIDDEN_SHARE)
    shown = np.where(model.pixels_of(mask) > 0, 0.5, unit(some))
    sheet([unit(some), shown, model.complete(some, mask)], path)


def generated(model, rows=8, seed=0):
    """Images decoded from the prior, a list of rows."""
    graph = model.sessions["decoder"].get_inputs()[0]
    latent = np.random.default_rng(seed).standard_normal((rows * COLUMNS, graph.shape[1]), dtype=np.float32)
    return np.split(model.decode(latent), rows)
