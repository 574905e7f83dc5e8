"""What is zero: weights and activations."""
