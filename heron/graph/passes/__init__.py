"""Passes: functions from graphs to graphs. Each is written once and holds for all families."""
