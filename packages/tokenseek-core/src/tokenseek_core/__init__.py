"""tokenseek_core."""
