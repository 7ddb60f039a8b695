"""A model's work on new images, kept: rows and tables, heat maps, and runs that can be resumed."""
