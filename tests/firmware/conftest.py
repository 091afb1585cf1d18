"""What takes a minute, and a file that is not ours, is collected only for who names that file."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("EDGEAGENT_UF2") else ["test_flash_emulated.py", "test_frozen_emulated.py"]
