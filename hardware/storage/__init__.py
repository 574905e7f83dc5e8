"""How sparse values are stored."""
