"""Experiments: data, frameworks, training, evaluation, records, verdicts and tables."""
