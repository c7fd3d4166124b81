"""Fairway: the Kubernetes Service system, whole, in Python."""

__version__ = "0.1.0"
