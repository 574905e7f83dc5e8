"""Sparsity: methods as compositions of score, granularity, allocation and schedule."""
