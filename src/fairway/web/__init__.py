"""A page to look at: its files, who may ask for what, and what it is told, as values. It gathers nothing itself:
what clusters and kernels hold comes from `assemble`. May use `trace`, `client`, the HTTP of `api`, and what is below
them."""
