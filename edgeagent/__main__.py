"""``python -m edgeagent`` is ``edgeagent``."""

from edgeagent.cli import main

main()
