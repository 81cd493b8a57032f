"""TFDS builders of the referring segmentation data sets; no TensorFlow needed."""
