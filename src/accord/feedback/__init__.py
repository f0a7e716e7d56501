"""Human feedback: the store, snapshots of training data, labeler agreement, the labeling queue and site, chat reactions and review."""
