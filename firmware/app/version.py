"""The version of what is in this slot."""

VERSION = "0.1.0"
