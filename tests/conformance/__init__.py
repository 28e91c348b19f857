"""Servers of a few lines around the product's own session and framing code, in the shape that public suites
expect.
"""
