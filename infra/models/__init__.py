"""One code for training and serving: a model's manifest, encoding, calibration and files; the registry."""
