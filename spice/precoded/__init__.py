"""Ready models: networks with their configurations, and hand-written models as functions that return one."""

from spice.precoded.models.choosing import choice_kernel, win_stay_lose_shift, with_bias, with_lapse
from spice.precoded.models.learning import counterfactual, forgetting, pearce_hall, rescorla_wagner, two_learning_rates
from spice.precoded.models.task_sets import task_sets
from spice.precoded.models.tasks import flat_aliens, two_step
from spice.precoded.networks.bandit import BANDIT_CONFIG, BanditRNN
from spice.precoded.networks.choice import CHOICE_CONFIG, ChoiceRNN
from spice.precoded.networks.forgetting import FORGETTING_RNN_CONFIG, ForgettingRNN
from spice.precoded.networks.learning_rate import LEARNING_RATE_RNN_CONFIG, LearningRateRNN
from spice.precoded.networks.participant_embedding import PARTICIPANT_EMBEDDING_RNN_CONFIG, ParticipantEmbeddingRNN
from spice.precoded.networks.rescorla_wagner import RESCOLA_WAGNER_CONFIG, RESCORLA_WAGNER_CONFIG, RescorlaWagnerRNN

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
    "choice_kernel",
    "counterfactual",
    "flat_aliens",
    "forgetting",
    "pearce_hall",
    "rescorla_wagner",
    "task_sets",
    "two_learning_rates",
    "two_step",
    "win_stay_lose_shift",
    "with_bias",
    "with_lapse",
]
