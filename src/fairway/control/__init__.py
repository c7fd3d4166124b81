"""What keeps promises: controllers, each a pure function from state to writes, and the loop that runs them.

Uses client, objects.
"""
