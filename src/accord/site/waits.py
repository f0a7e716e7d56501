"""Pages that wait a moment for a job: few at a time, since each keeps one of the site's threads from everybody else."""

from __future__ import annotations

import threading

from accord.runtime import jobs
from accord.runtime.jobs import Job

AT_ONCE = 3
"""Pages that wait; the others show the job as it is, and look again."""
_PLACES = threading.BoundedSemaphore(AT_ONCE)


def ended(job: Job, seconds: float) -> Job:
    """Return a job when it has ended, or as it is after some seconds; at once where enough pages wait already."""
    if not job.unfinished or not _PLACES.acquire(blocking=False):
        return job
    try:
        return jobs.wait(job, seconds)
    finally:
        _PLACES.release()
