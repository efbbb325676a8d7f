"""Tests of the package on tiny random pictures: `python -m pytest training/tests`."""
