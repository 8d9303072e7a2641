"""Ready models with their configurations."""

from spice.precoded.bandit import BANDIT_CONFIG, BanditRNN
from spice.precoded.choice import CHOICE_CONFIG, ChoiceRNN
from spice.precoded.forgetting import FORGETTING_RNN_CONFIG, ForgettingRNN
from spice.precoded.learning_rate import LEARNING_RATE_RNN_CONFIG, LearningRateRNN
from spice.precoded.participant_embedding import PARTICIPANT_EMBEDDING_RNN_CONFIG, ParticipantEmbeddingRNN
from spice.precoded.rescorla_wagner import RESCOLA_WAGNER_CONFIG, RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN

__all__ = [
    "BANDIT_CONFIG",
    "CHOICE_CONFIG",
    "FORGETTING_RNN_CONFIG",
    "LEARNING_RATE_RNN_CONFIG",
    "PARTICIPANT_EMBEDDING_RNN_CONFIG",
    "RESCOLA_WAGNER_CONFIG",
    "RESCORLA_WAGNER_CONFIG",
    "BanditRNN",
    "ChoiceRNN",
    "ForgettingRNN",
    "LearningRateRNN",
    "ParticipantEmbeddingRNN",
    "RescorlaWagnerRNN",
]
