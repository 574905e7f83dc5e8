"""What a framework sees."""
