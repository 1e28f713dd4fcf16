"""What a request made from the OpenAPI document must not do, and how often it may do the rest."""

import re
from collections import Counter

import requests
import schemathesis

JOBS = ("/group", "/client", "/time-based", "/conditional", "/emergency")
# Dry runs over all tokens that each call is let through; each takes the local stack seconds.
WIDE = 2
JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

wide = Counter()
made = set()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes every job a dry run, and keeps away from the jobs of others.

    A real run would log out people of the demo company, and of other tests: an invented name selects nobody and an
    emergency is refused for want of a key, but a moment in the past is a real selection. Only what would be read as
    `false` is replaced, so that wrong values still arrive as they are. And the list of jobs names all there are, of
    which only those made here may be cancelled.
    """
    if case.method == "DELETE":
        job = str((case.path_parameters or {}).get("id"))
        if JOB_ID.fullmatch(job) and job not in made:
            case.path_parameters["id"] = "00000000-0000-0000-0000-000000000000"
    if not _makes_job(case):
        return
    if case.body.get("dry_run", False) is False:
        case.body["dry_run"] = True
    if wide[case.path] >= WIDE and _is_wide(case):
        # Fits the schema, and is refused (422) before anything is read.
        case.body["reason"] = " " * 20


@schemathesis.hook
def after_call(context, case, response):
    """Counts the dry runs over all tokens, and spares the workers those that are left to them."""
    if not _makes_job(case) or response.status_code not in (200, 202):
        return
    wide[case.path] += _is_wide(case)
    job = response.json()["job_id"]
    made.add(job)
    if response.status_code == 202:
        url = response.request.url.rsplit("/", 1)[0] + "/jobs/" + job
        credentials = {"Authorization": response.request.headers["Authorization"]}
        requests.delete(url, headers=credentials, json={"reason": "only the answer is looked at"}, timeout=30)


def _makes_job(case):
    return case.method == "POST" and case.path.endswith(JOBS) and isinstance(case.body, dict)


def _is_wide(case):
    """Whether the request, if it is accepted, looks at all tokens."""
    if not isinstance(case.body.get("reason"), str):
        return False
    if case.path.endswith("/conditional"):
        conditions = case.body.get("conditions")
        return isinstance(conditions, dict) and not any(map(conditions.get, ("groups", "clients", "users")))
    return case.path.endswith(("/time-based", "/emergency"))
