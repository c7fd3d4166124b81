"""Why did my packet end there: reads rules as the kernel holds them.

Uses ruleset, node, packet; never the code that wrote the rules.
"""
