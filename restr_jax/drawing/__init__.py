"""Pictures: overlays, panels and the gallery."""
