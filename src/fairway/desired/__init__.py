"""What packets should do: the model, its builder and the oracle. Uses objects, node, packet."""
