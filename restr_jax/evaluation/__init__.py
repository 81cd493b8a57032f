"""From logits to numbers, tables and pictures."""
