"""What a layer costs: cycles, traffic, energy."""
