"""The base of every page of a project's site: the labeling site's and the chat's, and the project itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from accord.feedback.accounts import Account
from accord.feedback.guideline_pictures import Reader
from accord.feedback.questions import load
from accord.feedback.store import Store
from accord.feedback.web.access import Area, SceneOf, Visit
from accord.feedback.web.languages import HERE
from accord.runtime.project import Project
from accord.serving.web.site import PACKAGE as CHAT
from accord.serving.web.site import ChatSite, Library, Models
from accord.settings import ChatConfig, LabelConfig, OpenConfig, ScreeningConfig
from accord.site import navigation

if TYPE_CHECKING:
    from accord.feedback.sso import Provider

PACKAGE = "accord.site"


@dataclass(frozen=True, kw_only=True)
class ProjectSite(ChatSite):
    """All pages of one project."""

    project: Project
    upload_mb: int = 0
    """Largest file in megabytes that a lead may upload; 0 takes none."""
    packages: tuple[str, ...] = (PACKAGE, CHAT, HERE)
    why: str = "/records/why"

    def links(self, account: Account, path: str) -> Sequence[Area]:
        return navigation.links(account.role, path, arena=self.chat.arena)


def shared(config: OpenConfig) -> dict[str, Any]:
    """Return the settings of `accord open` that hold for all of its pages."""
    return {
        "host": config.host,
        "port": config.port,
        "names": config.names,
        "https": config.https,
        "workers": config.workers,
        "language": config.language,
        "session_days": config.session_days,
        "trusted_proxies": config.trusted_proxies,
        "access_log": config.access_log,
    }


def site_of(
    project: Project,
    store: Store,
    config: OpenConfig,
    *,
    models: Models,
    library: Library,
    secret: str = "",
    sso: Provider | None = None,
    scene: SceneOf | None = None,
    pictures: Reader | None = None,
) -> ProjectSite:
    """Return the site of a project, with the settings of its [label], [screening] and [chat] under one address.

    Args:
        models: what answers in the chat; nothing of it is opened before somebody asks.
        secret: part of the forms' tokens.
        sso: the identity provider of single sign-on.
        scene: tells labelers the scene of a prompt.
        pictures: reads the pictures of a guideline.
    """
    settings = project.settings
    address = shared(config)
    return ProjectSite(
        store,
        replace(LabelConfig(**settings.get("label", {})), **address),
        settings.get("project", {}).get("name") or project.path.name,
        secret,
        project.path,
        ScreeningConfig(**settings.get("screening", {})),
        load(settings.get("label.questions"), project.path),
        chat=replace(ChatConfig(**settings.get("chat", {})), **address),
        models=models,
        library=library,
        project=project,
        upload_mb=config.upload_mb,
        sso=sso,
        scene=scene,
        pictures=pictures,
    )


def of(found: Visit) -> ProjectSite:
    """Return the project's site of a request."""
    return cast("ProjectSite", found.site)
