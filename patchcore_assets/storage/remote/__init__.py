"""A storage behind a URL, such as a bucket."""
