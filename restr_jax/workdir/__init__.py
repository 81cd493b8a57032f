"""The files of a run: configuration, checkpoints, trained models."""
