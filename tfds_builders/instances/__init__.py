"""`instances`: referring expressions made by rule from COCO-format instances."""
