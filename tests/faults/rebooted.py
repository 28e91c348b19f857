"""A broker on a machine that was started anew: `BOOT_ID=file python -m tests.faults.rebooted`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest import mock

from broker import __main__ as broker

NAME = "BOOT_ID"


if __name__ == "__main__":
    with mock.patch.object(broker, NAME, Path(os.environ[NAME])):
        sys.exit(broker.main())
