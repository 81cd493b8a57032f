"""`referit`: ReferIt on IAPR TC-12 images, in its three published forms."""
