"""Kernel languages as values: print and parse. Uses packet only."""
