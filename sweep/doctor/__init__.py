"""`stsweep doctor`: what a person would look at before a sweep, on this machine and on every node, with remedies.

`facts` collects what a machine says of itself, `judge` says what is wrong with it, `examine` asks all machines.
"""
