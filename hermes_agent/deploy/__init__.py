"""Putting a declared configuration in place: what the NixOS and Home Manager modules call."""
