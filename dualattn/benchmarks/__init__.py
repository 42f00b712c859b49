"""Measurements that leave a record, and the suites of the backbone.

A suite is a module that an entry point of the group `dualattn.benchmarks` names; suite.py says what it has to hold.
Nothing here is loaded by `import dualattn`.
"""
