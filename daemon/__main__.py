"""``python -m daemon``: the same as ``spherorank``."""

from daemon.cli import main

main()
