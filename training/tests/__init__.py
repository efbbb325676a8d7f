"""Tests of the package on tiny random images: `python -m pytest training/tests`."""
