"""The report inside the site: as the project is now, in the visitor's language, with a policy and a link back of its own."""

from __future__ import annotations

from test_home import model
from visitors import Come

from accord.runtime.project import Project
from accord.site.project_site import ProjectSite


def test_the_report_shows_the_project_as_it_is_now(come: Come, project: Project, site: ProjectSite) -> None:
    viewer = come("viewer", root="/rlhf")
    before = viewer.get("/report")
    assert before.status_code == 200
    assert 'href="/rlhf/"' in before.text
    policy = before.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert before.headers["x-frame-options"] == "DENY"
    state = viewer.get("/report/state").json()["state"]
    assert f'data-live="{state}"' in before.text
    model(project, "fresh", "dpo", "2026-11-30T10:00:00Z")
    assert viewer.get("/report/state").json()["state"] != state
    assert "model-fresh" in viewer.get("/report").text
    assert come("labeler", root="/rlhf").get("/report/state").status_code == 403


def test_the_report_has_the_visitors_language(come: Come) -> None:
    lead = come("lead")
    assert '<html lang="en"' in lead.get("/report").text
    page = lead.get("/report", **{"Accept-Language": "zh-CN,zh;q=0.9"}).text
    assert '<html lang="zh-Hans"' in page
    assert 'id="language-zh" checked' in page
    assert 'id="language-en" checked' not in page


def test_a_page_of_another_policy_leaves_every_other_page_strict(come: Come) -> None:
    policy = come("lead").get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
