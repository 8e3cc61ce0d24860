"""`python -m heron`."""

from heron.cli import main

main()
