"""The computed assets, one module each, in the order of the data."""
