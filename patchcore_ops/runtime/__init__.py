"""What all rooms stand on: errors, progress, arrays on disk, content hashes, devices, threads."""
