"""Labelled images to measure a detector by: which are defective, of which type, where, and which show one part."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from training import images, sets

MASK = "_mask"
# What follows the name of a mask's image in the common layouts, and the masks' file type.
MASK_NAMES = ("{stem}_mask.png", "{stem}.png", "{stem}_mask.bmp")


@dataclass(frozen=True)
class DefectSet:
    """Images as the model takes them, u8 [n, channels, h, w]; the type of each one's defect, "" of normal ones; its mask at
    the size of the image as it came, bool [h, w], none where there is none; its size, (width, height), and the group of
    images of one part that it belongs to."""

    data: np.ndarray
    types: list
    masks: list
    sizes: list
    groups: np.ndarray

    @property
    def truth(self):
        return np.array([bool(kind) for kind in self.types])


@dataclass(frozen=True)
class Labelled:
    """An image file: its name, its bytes, the type of its defect, the bytes of its mask or none, and its part."""

    name: str
    encoded: bytes
    kind: str
    mask: bytes | None
    group: int


def archive(path, spec, groups, normal="free"):
    """A set in one archive: `CLASS/NAME`, masks beside their images as `NAME_mask.png`, normal ones in the class `normal`."""
    files = dict(images.members(path))
    names = [name for name in files if not Path(name).stem.endswith(MASK)]
    kinds = ["" if name.split("/")[0] == normal else name.split("/")[0] for name in names]
    masks = [files.get(f"{name.rpartition('.')[0]}{MASK}.png") for name in names]
    parts = sets.groups_of(names, groups) if groups else range(len(names))
    return assembled([Labelled(n, files[n], kind, mask, part) for n, kind, mask, part in zip(names, kinds, masks, parts)], spec)


def folders(good, bad, masks, spec):
    """A set of normal images, (name, bytes) of each, and of a folder of defective ones, whose sub-folders are the types of
    defects, with a folder of masks that has the same tree or none. Each image is a part of its own."""
    labelled = [Labelled(name, encoded, "", None, index) for index, (name, encoded) in enumerate(good)]
    for name, encoded in images.members(bad):
        kind = name.split("/")[0] if "/" in name else "defect"
        labelled.append(Labelled(name, encoded, kind, mask_of(masks, name) if masks else None, len(labelled)))
    return assembled(labelled, spec)


def mask_of(folder, name):
    """The bytes of an image's mask: a file of the same name in the same place below the folder, `_mask` behind it or not."""
    place = folder / Path(name).parent
    for pattern in MASK_NAMES:
        path = place / pattern.format(stem=Path(name).stem)
        if path.exists():
            return path.read_bytes()
    raise images.Unusable(f"there is no mask of {name} in {folder}: {', '.join(MASK_NAMES)} are looked for in the same sub-folder")


def assembled(labelled, spec):
    """The set of these files, but for those that cannot be decoded."""
    read = [(one, images.decoded(one.name, one.encoded, spec)) for one in labelled]
    read = [(one, array) for one, array in read if array is not None]
    sizes = [size_of(one.encoded) for one, _ in read]
    masks = [mask_pixels(one.mask, size) if one.mask else None for (one, _), size in zip(read, sizes)]
    data, groups = np.stack([array for _, array in read]), np.array([one.group for one, _ in read])
    return DefectSet(data, [one.kind for one, _ in read], masks, sizes, groups)


def size_of(encoded):
    """(width, height) of an image as it is sent, its orientation applied."""
    with Image.open(io.BytesIO(encoded)) as opened:
        return ImageOps.exif_transpose(opened).size


def mask_pixels(encoded, size):
    with Image.open(io.BytesIO(encoded)) as opened:
        if opened.size != size:
            raise images.Unusable(f"a mask has {opened.size[0]} × {opened.size[1]} pixels, its image {size[0]} × {size[1]}")
        return np.asarray(opened.convert("L")) > 127


def has_masks(path):
    """Whether an archive holds masks."""
    with tarfile.open(path) as tar:
        return any(Path(name).stem.endswith(MASK) for name in tar.getnames())
