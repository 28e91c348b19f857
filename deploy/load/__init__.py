"""The load of `penstock bench`: programs that stand for browsers and for a producer, and what they find."""
