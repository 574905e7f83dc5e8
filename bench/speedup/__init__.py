"""What the masks of real runs, and densities, buy on modelled training accelerators: table, document, pictures."""
