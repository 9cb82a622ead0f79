"""From a good well image to a ranking."""

import os

# onnxruntime reads this when it is imported. Otherwise its official builds write an id of the
# computer into the home folder, and send events about models and computer to Microsoft.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
