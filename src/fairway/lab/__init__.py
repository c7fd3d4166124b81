"""A cluster in a box: topology as values, namespaces, supervised processes. Uses every room below."""
