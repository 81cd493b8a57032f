"""Checks, data cards and leaks of built data sets."""
