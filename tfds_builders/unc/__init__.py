"""`unc`: RefCOCO with the unc partition, read from the `refer` distribution."""
