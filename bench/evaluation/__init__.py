"""How well it learnt."""
