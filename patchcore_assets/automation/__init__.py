"""What is rebuilt without anybody asking: conditions, waves and backfills."""
