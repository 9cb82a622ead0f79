"""No library sends data about the computer or the models: onnxruntime does so by default."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# onnxruntime sends nothing in a test run that sets one of these.
SUPPRESSING = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS")


@pytest.mark.parametrize("module", ["inference.onnx_session", "inference.encoding.onnx_encoder"])
def test_onnxruntime_writes_no_id_of_the_computer(module: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in SUPPRESSING}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, check=True)

    assert not list(tmp_path.rglob("*onnxruntime*"))
