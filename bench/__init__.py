"""Measurements of latentd beside other ways to serve the same models: docs/BENCHMARKS.md."""
