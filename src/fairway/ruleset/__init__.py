"""Kernel languages as values: print, parse, understand. Uses packet only."""
