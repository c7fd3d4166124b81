"""The only hands: the contract, Linux (netlink, iptables-restore), and the same contract in memory.

Uses ruleset, node, packet.
"""
