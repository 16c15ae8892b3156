"""From history to a limit: the policies of Ullage.

Pure: no clock, no randomness, no input or output. Nothing is imported here, because
`live` is on the path of every reading and must not load numpy.
"""
