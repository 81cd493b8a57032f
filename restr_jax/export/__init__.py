"""Trained models for other programs: StableHLO for JAX, and ONNX.

folder       what `restr export` writes, and checks before it says that it did
  encode.*   normalised images [b, H, W, 3] -> patch features [b, N, D]
  segment.*  patch features, tokens [b, k, L] -> logits of pixels and patches, and
             the seed's attention to words
"""
