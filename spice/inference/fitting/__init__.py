"""Every way of fitting a model to choices: maximum likelihood, MAP, empirical Bayes, full Bayes."""
