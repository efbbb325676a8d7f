"""Folders that are put in place whole: made beside their place, checked there, and moved when all of it is right."""

import contextlib
import os
import shutil
from pathlib import Path


@contextlib.contextmanager
def replacing(folder, keep=()):
    """A new folder, which takes the place of `folder` when the block ends, and is removed if it fails. Files that `keep`
    names are taken over from the one before, unless the new folder has them. A hidden name beside the place keeps a
    server that starts meanwhile from reading an unfinished model."""
    folder = Path(folder)
    new, old = (folder.with_name(f".{folder.name}.{what}-{os.getpid()}") for what in ("new", "old"))
    new.mkdir(parents=True)
    try:
        yield new
        for name in keep:
            if (folder / name).exists() and not (new / name).exists():
                shutil.copy2(folder / name, new / name)
        put(new, folder, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def put(new, folder, old):
    """Moves the old folder away before the new one in, since a folder that holds files cannot be renamed over; it comes
    back if the new one cannot be moved."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
