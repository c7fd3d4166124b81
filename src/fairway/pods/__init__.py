"""Pods as processes: sandboxes, environment, probes, the node agent. Uses network, client, kernel, objects."""
