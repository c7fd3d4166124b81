"""The kernel's contract in memory: the same promises and errors as `kernel.linux`, without a kernel."""
