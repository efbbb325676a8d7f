"""Writes what Pillow makes of the files in images/cases, each of which was once read wrongly or refused.

    images/cases/             the files, as they were reported or as `cases` of this script writes them
    images/expected/cases/    what Pillow sees: upright, RGB, transparency flattened on white

The files that must be refused have no expected image.
"""

import io
import sys
import warnings
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).parent / "images"
# Damaged; Pillow fills what is missing, or decodes something else.
REFUSED = {"cut_half_48x36.jpg", "cut_half_200x150.jpg", "rst_missing.jpg"}


def seen(data):
    """The image as Pillow shows it, upright, as RGB on white."""
    with Image.open(io.BytesIO(data)) as file:
        image = ImageOps.exif_transpose(file)
    if "transparency" in image.info or "A" in image.getbands() or "a" in image.getbands():
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def main():
    folder = ROOT / "expected" / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for file in sorted((ROOT / "cases").iterdir()):
        if file.name not in REFUSED:
            seen(file.read_bytes()).save(folder / f"{file.name}.png", optimize=True)
    print(f"{len(list(folder.iterdir()))} expected images", file=sys.stderr)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
