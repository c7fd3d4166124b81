"""What runs inside a sandbox process: standard library only, few imports, no event loop but epoll.

Each pod pays for each import. `_socket` and `_signal` are the C parts of `socket` and `signal`: what the latter add on
top (enumerations of their constants) costs 1 MB a pod.
"""
