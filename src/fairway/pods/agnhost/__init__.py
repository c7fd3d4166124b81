"""A stand-in for the test program `agnhost`: the part of its commands that network tests of clusters use.

A program of its own, `python -I -S __main__.py COMMAND ...`, standard library only; its pods have it as `/agnhost`.
Written from agnhost's documented interface.
"""
