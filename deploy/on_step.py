"""Run a command at steps of the imaging; an example of a hook for ``spherorank listen --exec``.

usage: on_step.py STEP[,STEP…] COMMAND [WORD…]

The message of ``spherorank.v1.acquisition`` is read from stdin. If it reports one of the steps, the
command is run, with ``{plate}``, ``{day}``, ``{well}``, ``{file}`` and ``{step}`` replaced by the
values of the message.
"""

# ruff: noqa: INP001 - an example next to the configurations, not a package

import json
import subprocess
import sys

steps, *words = sys.argv[1:]
data = json.loads(sys.stdin.readline())["body"]["data"]
if data["step"] in steps.split(","):
    for name in ("plate", "day", "well", "file", "step"):
        words = [word.replace(f"{{{name}}}", str(data[name])) for word in words]
    done = subprocess.run(words, check=False)  # noqa: S603 - the operator's command
    sys.exit(done.returncode)
