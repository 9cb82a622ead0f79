"""Run the command line with ``python -m daemon``, the same as ``spherorank``."""

from daemon.commands import main

main()
