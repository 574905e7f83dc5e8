"""What is to be computed: layers and training steps."""
