"""Members and forest, blended by their out-of-fold predictions."""
