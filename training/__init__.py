"""Trains, exports and measures the models in `models/`. See training/README.md."""
