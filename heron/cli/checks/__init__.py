"""What `heron doctor` looks at."""
