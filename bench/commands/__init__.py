"""One file a command: a dataclass of its options that acts.

Libraries that take seconds to import, torch first, are imported where a command acts: ``--help`` needs none.
"""
