"""Evaluation: metrics, result tables and figures."""
