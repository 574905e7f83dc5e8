"""Where runs are performed: here, on a cluster's queue, or wherever Ray puts them."""
