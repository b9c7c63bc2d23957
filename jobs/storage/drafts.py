"""What is fetched takes its name when it is whole."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A temporary path beside another, which takes its name when the block ends without an error.

    Where somebody was quicker, theirs stays: what is fetched under a name is the same.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        if not path.exists():
            try:
                draft.rename(path)
            except OSError:
                if not path.exists():
                    raise
    finally:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
