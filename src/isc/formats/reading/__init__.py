"""Ids back to messages: scanners over sampled segments, and one module a call grammar."""
