"""The demo: real processes, made-up people, the whole loop, and totals that can be checked.

`run` is the order of events, `stage` the processes, `play` what they do to each other, `ending`
compares how it ended with what the script expects, `journals` counts what the partners got.
"""
