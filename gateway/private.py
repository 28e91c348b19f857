"""A folder that nobody else can look into, or write to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from broker.errors import PenstockError

MODE = 0o700


class NotPrivate(PenstockError):
    """Somebody else may be in that folder, or it cannot be made."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder}: {why}")
        self.folder, self.why = folder, why


def make_private(folder: Path) -> None:
    """Make it, or see that it is ours alone. Raises NotPrivate."""
    try:
        folder.mkdir(MODE, exist_ok=True)
        found = folder.lstat()  # of a link it is the link, which somebody else may turn elsewhere
    except FileExistsError:
        raise NotPrivate(folder, "is no folder") from None
    except OSError as error:
        raise NotPrivate(folder, error.strerror or str(error)) from error
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(folder, "is a link, or no folder")
    if found.st_uid != os.geteuid():
        raise NotPrivate(folder, f"belongs to user {found.st_uid}")
    if found.st_mode & 0o077:
        raise NotPrivate(folder, f"has mode {stat.S_IMODE(found.st_mode):o}, want {MODE:o}")
