"""The persistent container of a service: made, kept and watched from outside, prepared from inside."""
