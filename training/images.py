"""Image sets as arrays, and the preprocessing of `model.toml` in Pillow and numpy. Nothing here needs PyTorch."""

import io
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_DATA = REPOSITORY.parent / "shared" / "data"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
MODES = {"rgb": "RGB", "gray": "L"}
# Fewer leave nothing to train on beside a validation set.
FEWEST = 4


class Unusable(SystemExit):
    """An image set that nothing can be trained or measured with, and why."""


def add_data_argument(parser):
    parser.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        help="a folder of images, or the folder with the image sets that recipes name (default: ../shared/data "
        "beside the repository)",
    )


def source_of(folder, named):
    """The place of the images: what a recipe names below the folder, or else the folder itself, where it holds images.
    The second value says whether they are the recipe's own."""
    if named and (folder / named).exists():
        return folder / named, True
    if folder.is_file() or (folder.is_dir() and next(image_files(folder), None)):
        return folder, False
    wanted = f"neither {named} nor images" if named else "no images"
    raise Unusable(f"there are {wanted} in {folder}: give a folder of images with --data, or see training/README.md for the layout")


def image_files(folder):
    return (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def members(source):
    """(name, bytes) of every image in a tar or a folder, sorted by name."""
    if source.is_dir():
        for path in sorted(image_files(source)):
            yield path.relative_to(source).as_posix(), path.read_bytes()
    else:
        with tarfile.open(source) as tar:
            files = [m for m in tar.getmembers() if m.isfile() and Path(m.name).suffix.lower() in SUFFIXES]
            for member in sorted(files, key=lambda m: m.name):
                yield member.name, tar.extractfile(member).read()


@dataclass(frozen=True)
class ImageSet:
    """Images as u8 [n, channels, height, width], the index of each one's class folder as i64 [n], the names of their files,
    and, where they were asked for, the BLAKE3 hash of each file's bytes in hexadecimal digits."""

    data: np.ndarray
    labels: np.ndarray
    names: list
    hashes: list


def load(source, spec):
    """Images as u8 [n, channels, height, width] and the index of each one's class folder as i64 [n], as `read` reads them."""
    found = read(source, spec)
    return found.data, found.labels


def read(source, spec, hashed=False):
    """The images of a tar or a folder, with the hashes of their files or without.

    They are brought to the model's size as `[input]` and `[preprocess]` of a manifest say, which `spec` has, so that
    training sees what the server will see. A file that cannot be decoded is named and left out. Without class folders
    all labels are 0; training does not look at them.
    """
    if not source.exists():
        raise Unusable(f"image set {source} is not there: give the folder that holds it with --data, or see training/README.md")
    arrays, names, hashes, broken = [], [], [], 0
    for name, encoded in members(source):
        array = decoded(name, encoded, spec)
        if array is None:
            broken += 1
            continue
        arrays.append(array)
        names.append(name)
        if hashed:
            hashes.append(hash_of(encoded))
    if not arrays:
        raise Unusable(f"no images in {source}" + (f": none of its {broken} files can be decoded" if broken else ""))
    if broken:
        print(f"{broken} of {broken + len(arrays)} files of {source} were left out", file=sys.stderr, flush=True)
    folders = [name.rsplit("/", 1)[0] if "/" in name else "" for name in names]
    classes = {folder: index for index, folder in enumerate(sorted(set(folders)))}
    return ImageSet(np.stack(arrays), np.array([classes[folder] for folder in folders], np.int64), names, hashes)


def hash_of(encoded):
    """The BLAKE3 hash of a file's bytes, by which the server knows an image again."""
    import blake3  # the tests that need no PyTorch have no need of it either

    return blake3.blake3(encoded).hexdigest()


def decoded(name, encoded, spec):
    """One image as the model takes it, u8 [channels, height, width]; none of a file that cannot be decoded, which is named."""
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            return planar(prepared(opened, spec))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        print(f"left out, for it cannot be decoded: {name}: {error}", file=sys.stderr, flush=True)
        return None


def prepared(image, spec):
    """The image at the model's size and in its channels, in the server's order: oriented, flattened on white, converted,
    resized, cropped or placed."""
    size, rules = spec["input"], spec["preprocess"]
    width, height, filter = size["width"], size["height"], FILTERS[rules["filter"]]
    image = flattened(ImageOps.exif_transpose(image)).convert(MODES[size["channels"]])
    match rules["resize"]:
        case "exact":
            return resized(image, width, height, filter)
        case "shortest-edge" if rules.get("crop") == "center":
            edge, short = rules["edge"], min(image.size)
            image = resized(image, edge * image.width // short, edge * image.height // short, filter)
            left, top = (image.width - width) // 2, (image.height - height) // 2
            return image.crop((left, top, left + width, top + height))
        case "letterbox":
            image = resized(image, *fitted(image.size, (width, height)), filter)
            place = Image.new(image.mode, (width, height), "white")
            place.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
            return place
        case other:
            raise NotImplementedError(f"resize = {other} is not used by the models trained here")


def flattened(image):
    """The image without transparency, on white; 16 bits of grey are rounded to 8."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def fitted(size, within):
    """The largest size of the same shape within another, rounded to whole pixels."""
    (width, height), (most_wide, most_high) = size, within
    scaled = lambda side, by, over: max(1, (2 * side * by + over) // (2 * over))
    if most_wide * height <= most_high * width:
        return most_wide, min(most_high, scaled(height, most_wide, width))
    return min(most_wide, scaled(width, most_high, height)), most_high


def resized(image, width, height, filter):
    """Pillow's resize as two passes, horizontal first, as the server does it. Pillow by itself goes vertically first
    where that is less work, which differs by a few levels."""
    if image.width != width:
        image = image.resize((width, image.height), filter)
    return image if image.height == height else image.resize((width, height), filter)


def planar(image):
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def validation_count(count, asked=None):
    """The size of the validation set: a tenth of the images, but two at least, or what the recipe asks for."""
    if count < FEWEST:
        raise Unusable(f"{count} images are too few to train on: {FEWEST} at least are needed")
    wanted = asked if asked is not None else max(2, count // 10)
    if count - wanted < 2:
        raise Unusable(
            f"{count} images, of which training.validation_images = {wanted} are for validation: nothing is left to train "
            "on; without that key a tenth is"
        )
    return wanted


def preprocess(image, manifest):
    """HWC u8 -> [1, channels, height, width] f32, as `[input]` and `[preprocess]` of a manifest say."""
    return normalise(planar(prepared(Image.fromarray(image), manifest))[None], manifest["preprocess"])


def normalise(batch, settings):
    """[n, channels, h, w] u8 -> f32: rescale, then mean and std where the manifest has them."""
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
