"""Full Bayes: posterior densities, draws from them, and what is made of draws."""
