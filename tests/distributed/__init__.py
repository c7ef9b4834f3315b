"""Runs of one master and several workers, as processes of their own, against a target of their own."""
