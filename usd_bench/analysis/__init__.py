"""Analysis of profiles and stored results."""
