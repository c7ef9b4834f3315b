"""SLO: see ``wsoak.judge.slo``."""

from wsoak.judge.slo import BadSlo, Slo, slo

__all__ = ["BadSlo", "Slo", "slo"]
