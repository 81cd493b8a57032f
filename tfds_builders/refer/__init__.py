"""Data sets in the layout of the `refer` distribution."""
