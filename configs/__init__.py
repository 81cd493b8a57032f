"""Configurations: common.py declares every key, the others change some."""
