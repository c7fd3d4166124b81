"""Where the rooms are put together: the only package that knows every one of them.

`processes` are what runs (API server, controllers, node agent, node proxy, DNS), `cluster` brings a lab up and down,
`inside` runs commands in it, `tracing` gathers what the tracer needs.
"""
