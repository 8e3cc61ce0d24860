"""Models by name: what they are called, pulling them from a hub, and where they live on disk."""
