"""The real kernel: netlink and iptables-restore, for one network namespace (EDGE)."""
