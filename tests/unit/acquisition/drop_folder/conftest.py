"""The fixtures of the drop folder's tests."""

from pathlib import Path

import pytest

from tests.robot_folder import RobotFolder


@pytest.fixture
def robot(tmp_path: Path) -> RobotFolder:
    """Return a drop folder with the plate map of plate P1 and no image."""
    return RobotFolder(tmp_path / "drop")
