"""How our own parts ask an API server: the client contract, HTTP and local clients, informers.

Uses api (local), objects.
"""
