"""One step at work: the resource, what it reads and reports, and what happens when it fails."""
