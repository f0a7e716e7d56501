"""The labeling site: pages over the feedback store. ``app.create`` builds it; it imports feedback, records and errors alone."""
