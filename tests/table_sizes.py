"""Every table at every size that it has."""

from bench.tables import TABLES

SIZES = tuple((name, profile) for name, table in TABLES.items() for profile in table.profiles)
WITH_SMOKE = tuple(name for name, profile in SIZES if profile == "smoke")
