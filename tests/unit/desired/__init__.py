"""Tests of the desired model: choice, build, oracle."""
