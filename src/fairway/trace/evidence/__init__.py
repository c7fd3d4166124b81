"""What somebody saved of a node, read into what a walk needs: rules, addresses, routes, settings, connections.

Texts in, values out; each kind of text is recognised by what it holds. Hostile input ends in an EvidenceError that
names the file and the line, in bounded time and memory.
"""
