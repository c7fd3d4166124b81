"""Saying it: renderers from the model to a language, and the loop that keeps the kernel in step.

Uses desired, ruleset, kernel, client.
"""
