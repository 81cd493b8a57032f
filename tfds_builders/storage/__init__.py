"""Built data sets on the disk: writing and opening."""
