"""The published models of the golden files, and options that compile tests quickly."""

VARIANTS = (
    "released_tiny",
    "released_tiny_shared",
    "released_tiny_nodecoder",
    "released_tiny_vme",
    "released_tiny_ime",
)
# Halves the compile time.
QUICK = {"xla_backend_optimization_level": 0}
