"""One site for a project: labeling, chat, review, report and home under one address and one log-in. No torch."""
