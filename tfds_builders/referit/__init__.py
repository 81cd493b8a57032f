"""`referit`: ReferIt on IAPR TC-12 images, in the three forms that are published."""
