"""What is rebuilt without a request: conditions, waves and backfills."""
