"""How the cluster is asked: requests, handlers, patches, tables, discovery, allocation, authentication.

Uses store, objects.
"""
