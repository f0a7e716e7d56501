"""The pictures of a project by their digests, for models and servers that are shown them. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable

from accord.feedback.media import media_file
from accord.feedback.store import Store
from accord.records import MediaFile
from accord.runtime.project import Project


def picture_files(project: Project) -> Callable[[str], MediaFile]:
    """Return what gives a picture of the project's store by its digest. It raises StoreError where there is none."""

    def shown(digest: str) -> MediaFile:
        with Store.open(project.store_url) as store:
            return media_file(store, digest)

    return shown
