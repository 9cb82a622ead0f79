"""The version of the code that makes a ranking: the package version and the git commit.

The build hook ``hatch_build.py`` runs this file too, so it imports the standard library only.
"""

import importlib.metadata
import subprocess
from pathlib import Path

RECORDED_COMMIT = Path(__file__).with_name("recorded_commit.txt")
"""The commit of a wheel, a file that the build hook adds; a checkout does not have it."""


def code_version(*, timeout_s: float = 3.0) -> str:
    """Return the package version with the git commit of the code, such as ``0.1.0+g14fd511c2a90``.

    A wheel contains the commit that it was built from. A checkout or an editable installation asks
    git each time, so the answer follows the checkout. ``.dirty`` at the end means that tracked
    files differ from the commit. ``0.1.0+unknown.commit`` means that there is no recorded commit
    and git gives none. The result is a version by PEP 440, with the commit in its local part.

    Parameters
    ----------
    timeout_s
        Longest time to wait for git, in seconds.
    """
    version = importlib.metadata.version("spherorank")
    try:
        commit: str | None = RECORDED_COMMIT.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        commit = commit_of_checkout(Path(__file__).parents[1], timeout_s=timeout_s)
    return f"{version}+{commit or 'unknown.commit'}"


def commit_of_checkout(folder: Path, *, timeout_s: float) -> str | None:
    """Return the commit of a folder's git checkout, such as ``g14fd511c2a90.dirty``, or None.

    Parameters
    ----------
    folder
        Top folder of the checkout. A folder inside a checkout has no commit: the installation may
        lie inside the checkout of another project.
    timeout_s
        Longest time to wait for git, in seconds.

    Returns
    -------
    str or None
        None if the folder is not the top of a checkout, or if git is missing, fails or is too slow.
    """
    git_folder = folder / ".git"
    if not git_folder.exists():
        return None
    # With an explicit --git-dir, git also reads the checkout of another user, which it refuses
    # otherwise (safe.directory). That adds no risk: this program is code of the same checkout.
    command = [
        *("git", "--no-optional-locks", f"--git-dir={git_folder}", f"--work-tree={folder}"),
        *("describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=.dirty"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, check=True, timeout=timeout_s, cwd=folder
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"g{done.stdout.strip()}"
