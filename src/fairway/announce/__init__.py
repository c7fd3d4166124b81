"""Load-balancer addresses on the segment: who of the nodes answers ARP and neighbour discovery for which. May use
`client` and what is below it."""
