"""Activation sparsity: layers that decide, image by image, what to compute."""
