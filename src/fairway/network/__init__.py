"""The pod network: address ranges and the links of a node as intentions. Uses kernel's values, node, objects."""
