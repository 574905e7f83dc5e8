"""A pruned encoder without its zeros: filters that are never needed are physically gone."""

from methods.compaction.one_call import fused
from methods.compaction.surgery import compacted, folded, shaped

__all__ = ["compacted", "folded", "fused", "shaped"]
