"""NEW ROOM."""
