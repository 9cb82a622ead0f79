"""Training and evaluation of encoders, forecasters, segmenters, stains: the only user of torch."""

import os

# onnxruntime reads this when it is imported. Otherwise its official builds write an id of the
# computer into the home folder, and send events about models and computer to Microsoft.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
