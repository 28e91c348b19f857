"""Disks that can be filled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Nothing less will do. A limit on a file's size or a quota says another error than a full disk does; a file
# system in a file is mounted by root too, and one of a user's own namespace is not seen by who made it.
NEEDS_ROOT = "only root may mount a small disk, and in some containers not even root"


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """A file system of its own, of so many bytes; None where that may not be mounted: see NEEDS_ROOT."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "penstock-test", str(folder)]
    if os.geteuid() or subprocess.run(command, stderr=subprocess.DEVNULL, timeout=20).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        # Whoever has a file open there ends after this: the mount goes when the last one does.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)
