"""tokenseek_common."""
