"""The thin halves of the controllers: which change concerns which key, and who performs the writes that the pure
halves decide.
"""
