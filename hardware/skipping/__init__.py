"""What a machine can skip."""
