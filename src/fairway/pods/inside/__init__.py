"""What runs inside a sandbox process: standard library only, few imports, no event loop but epoll."""
