"""Experiments outside the package; run them from the root of the repository."""
