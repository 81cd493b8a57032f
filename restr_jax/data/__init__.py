"""From stored records to batches; NumPy only, so that workers never touch JAX."""
