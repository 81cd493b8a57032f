"""Training: one update, its state, losses, optimizer and metrics."""
