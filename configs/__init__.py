"""Configurations: common.py declares every key, the others override some."""
