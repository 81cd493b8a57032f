"""Converts third-party weights to parameters of this project, one module per layout.

Only this package knows third-party names. A module reads arrays by these names, which
must match exactly, without missing or extra arrays and with the right shapes
(strict.py).
"""
