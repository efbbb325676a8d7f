"""Image sets as tensors, and the preprocessing of `model.toml` in Pillow and numpy."""

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_DATA = REPOSITORY.parent / "shared" / "data"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def add_data_argument(parser):
    parser.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        help="folder with the image sets (default: ../shared/data beside the repository)",
    )


def members(source):
    """(name, bytes) of every image in a tar or a folder, sorted by name."""
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES):
            yield path.relative_to(source).as_posix(), path.read_bytes()
    else:
        with tarfile.open(source) as tar:
            files = [m for m in tar.getmembers() if m.isfile() and Path(m.name).suffix.lower() in SUFFIXES]
            for member in sorted(files, key=lambda m: m.name):
                yield member.name, tar.extractfile(member).read()


def load(source, side):
    """Images as u8 [n, 3, side, side] and the index of each one's class folder as i64 [n].

    Images of another size are resized with Pillow's bicubic filter. Without class folders all
    labels are 0; training does not look at them.
    """
    if not source.exists():
        sys.exit(
            f"image set {source} is not there: give the folder that holds it with --data, "
            "or see training/README.md for the layout"
        )
    images, folders = [], []
    for name, data in members(source):
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        images.append(np.asarray(image))
        folders.append(name.rsplit("/", 1)[0] if "/" in name else "")
    if not images:
        sys.exit(f"no images in {source}")
    classes = {folder: index for index, folder in enumerate(sorted(set(folders)))}
    labels = torch.tensor([classes[f] for f in folders])
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), labels


def split(count, validation, seed=0):
    """Indices of the training set and of the validation set; the same on every run."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[validation:], order[:validation]


def preprocess(image, manifest):
    """HWC u8 -> [1, 3, height, width] f32, as `[input]` and `[preprocess]` of a manifest say."""
    size = (manifest["input"]["width"], manifest["input"]["height"])
    settings = manifest["preprocess"]
    if settings["resize"] != "exact" or settings.get("crop", "none") != "none":
        raise ValueError("only resize = exact without a crop is used by the models trained here")
    resized = Image.fromarray(image)
    if resized.size != size:
        resized = resized.resize(size, FILTERS[settings["filter"]])
    return normalise(np.asarray(resized).transpose(2, 0, 1)[None], settings)


def normalise(batch, settings):
    """[n, 3, h, w] u8 -> f32: rescale, then mean and std where the manifest has them."""
    scaled = batch.astype(np.float32) * np.float32(settings["rescale"])
    if "mean" in settings:
        mean, std = (np.float32(settings[k]).reshape(1, -1, 1, 1) for k in ("mean", "std"))
        scaled = (scaled - mean) / std
    return scaled


def drawn(width=48, height=40, turn=0):
    """An image of our own: a colour gradient with a disc, a rectangle and a line, HWC u8."""
    y, x = np.mgrid[0:height, 0:width]
    ramp = [x * 255 // (width - 1), y * 255 // (height - 1), 255 - x * 255 // (width - 1)]
    ground = np.stack([ramp[(c + turn) % 3] for c in range(3)], axis=-1).astype(np.uint8)
    image = Image.fromarray(ground)
    draw = ImageDraw.Draw(image)
    colours = [(220, 60, 40), (40, 90, 200), (240, 220, 80)]
    draw.ellipse((width // 8, height // 5, width // 2, height * 7 // 10), fill=colours[turn % 3])
    draw.rectangle((width * 6 // 10, height // 3, width * 9 // 10, height * 9 // 10), fill=colours[(turn + 1) % 3])
    draw.line((0, height - 3, width, height // 8), fill=colours[(turn + 2) % 3], width=2)
    return np.asarray(image)
