"""The labeling site: pages over the feedback store. ``app.create`` builds it. It imports only feedback, records, settings and errors."""
