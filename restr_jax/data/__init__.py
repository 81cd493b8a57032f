"""Turns stored records into batches; NumPy only, so workers never import JAX."""
