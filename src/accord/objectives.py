"""Every formula of RLHF as a pure function of tensors, for a training loop of your own. Nothing else of Accord is loaded.

    from accord.objectives import dpo_loss

    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    dpo_loss(margins).mean().backward()

A mask is called ``keep`` and is True on the tokens that count. Shapes are in the signatures.

Rankings          bradley_terry_loss, rao_kupper_loss, plackett_luce_loss, ranked_pairs, above, share_above
Preferences       dpo_loss, robust_dpo_loss, ipo_loss, odds_ratio_loss, log_odds, kto_loss
Policy gradients  gae, clipped_policy_loss, clipped_value_loss, importance_weights, whiten, masked_mean, explained_variance
KL                kl_divergence, generalised_jsd, kl_estimate, kl_rewards, adapted_kl_coef, best_of_n_kl
Groups            group_advantages, leave_one_out_advantages, over_group_spread, rewards_to_go, telling_groups, overlong_penalty,
                  token_weights, response_sums, best_rows, extreme_pairs
Q-learning        lambda_returns, expectile_loss
Fairness          group_weights, lagrange_multiplier
"""

from __future__ import annotations

from accord.algorithms.groupwise_objectives import (
    best_of_n_kl,
    best_rows,
    extreme_pairs,
    group_advantages,
    leave_one_out_advantages,
    over_group_spread,
    overlong_penalty,
    response_sums,
    rewards_to_go,
    telling_groups,
    token_weights,
)
from accord.algorithms.objectives import (
    above,
    adapted_kl_coef,
    bradley_terry_loss,
    clipped_policy_loss,
    clipped_value_loss,
    dpo_loss,
    expectile_loss,
    explained_variance,
    gae,
    generalised_jsd,
    group_weights,
    importance_weights,
    ipo_loss,
    kl_divergence,
    kl_estimate,
    kl_rewards,
    kto_loss,
    lagrange_multiplier,
    lambda_returns,
    log_odds,
    masked_mean,
    odds_ratio_loss,
    plackett_luce_loss,
    ranked_pairs,
    rao_kupper_loss,
    robust_dpo_loss,
    share_above,
    whiten,
)

__all__ = [
    "above",
    "adapted_kl_coef",
    "best_of_n_kl",
    "best_rows",
    "bradley_terry_loss",
    "clipped_policy_loss",
    "clipped_value_loss",
    "dpo_loss",
    "expectile_loss",
    "explained_variance",
    "extreme_pairs",
    "gae",
    "generalised_jsd",
    "group_advantages",
    "group_weights",
    "importance_weights",
    "ipo_loss",
    "kl_divergence",
    "kl_estimate",
    "kl_rewards",
    "kto_loss",
    "lagrange_multiplier",
    "lambda_returns",
    "leave_one_out_advantages",
    "log_odds",
    "masked_mean",
    "odds_ratio_loss",
    "over_group_spread",
    "overlong_penalty",
    "plackett_luce_loss",
    "ranked_pairs",
    "rao_kupper_loss",
    "response_sums",
    "rewards_to_go",
    "robust_dpo_loss",
    "share_above",
    "telling_groups",
    "token_weights",
    "whiten",
]
