"""A storage in a folder of this machine."""
