"""Checks on a CUDA device: tests marked ``gpu``, and measurements beside scripts that people write instead.

``make gpu`` runs them all; ``make gpu-wheels`` collects the packages for a machine without network.
"""
