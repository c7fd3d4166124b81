"""Tests of the data plane's pure parts and its loop."""
