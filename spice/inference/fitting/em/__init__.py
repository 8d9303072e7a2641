"""Empirical Bayes: a normal population of people, fitted by EM."""
