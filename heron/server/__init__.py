"""HTTP over one engine: the APIs that clients speak already."""
