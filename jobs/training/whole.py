"""Folders that are there as a whole or not at all, whoever is killed meanwhile."""

import os
import secrets
import shutil
from pathlib import Path


def draft_name(name: str) -> str:
    """A name that no other attempt uses: one that is cut off from us may still be writing."""
    return f"{name}.draft-{secrets.token_hex(4)}"


def settle(path: Path) -> None:
    """Have it on the disk itself, so that a power cut after the renaming leaves it whole."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(path: Path, draft: Path) -> None:
    """Publish a draft; one that was passed over goes only once the new one is there."""
    aside = path.with_name(draft_name(path.name))
    if path.exists():
        path.rename(aside)
    try:
        draft.rename(path)
    except OSError:
        if aside.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove a checkpoint; a kill meanwhile leaves no half of it under its name."""
    if path.exists():
        half = path.with_name(draft_name(path.name))
        path.rename(half)
        shutil.rmtree(half, ignore_errors=True)
