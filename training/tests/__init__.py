"""Tests of the package on tiny images of our own: `make test-training`. Those that need no PyTorch run in `make test`."""
