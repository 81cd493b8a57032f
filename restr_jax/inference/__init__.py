"""Inference: the Python API and `restr predict`."""
