"""Exports trained models to StableHLO, for JAX, and to ONNX.

folder       written by `restr export`, which verifies it before it reports success
  encode.*   normalised images [b, H, W, 3] -> patch features [b, N, D]
  segment.*  patch features, tokens [b, k, L] -> logits of pixels and patches, and
             the seed's attention to words
"""
