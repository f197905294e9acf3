"""Helpers that several test files share: tiny studies, real processes that die, hostile files."""
