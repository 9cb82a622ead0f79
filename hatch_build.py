"""Build hook of hatchling: records the git commit in each wheel and sdist.

:func:`daemon.code_version.code_version` reads the recorded commit. An editable installation has no
recorded commit; it asks git at each start.
"""

import runpy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RecordCommit(BuildHookInterface[Any]):
    """Adds ``daemon/recorded_commit.txt`` to wheels and sdists of a git checkout.

    A wheel that is built from an sdist takes the file of the sdist, which has no ``.git``.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the commit to a temporary file and include it, except in an editable wheel."""
        self.temporary = TemporaryDirectory()
        if version == "editable":
            return
        root = Path(self.root)
        # Read from its file: a build environment has none of the packages that `daemon` imports.
        code_version = runpy.run_path(str(root / "daemon" / "code_version.py"))
        commit = code_version["commit_of_checkout"](root, timeout_s=60.0)
        if commit is not None:
            file = Path(self.temporary.name) / "recorded_commit.txt"
            file.write_text(f"{commit}\n", encoding="utf-8")
            build_data["force_include"][str(file)] = "daemon/recorded_commit.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - the hook's signature
        """Remove the temporary file."""
        self.temporary.cleanup()
