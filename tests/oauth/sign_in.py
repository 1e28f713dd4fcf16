"""Signs in by authorization code with PKCE as an OAuth client library does it, uses the tokens, and gives them back.

Each step prints one line of JSON: its name, whether it went as it should, and what was seen. The status is 1 if
anything did not.

The client is Authlib's. Only the person at the browser is played here: `Browser` follows redirects, fills in the one
form it is shown, and stops where the client's own address begins, so that nothing has to listen there.
"""

import argparse
import base64
import json
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

TIMEOUT = 10
MOST_PAGES = 10


@dataclass
class Form(HTMLParser):
    """The first form of a page."""

    action: str | None = None
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    complete: bool = False

    def __post_init__(self):
        super().__init__()

    @classmethod
    def of(cls, page):
        form = cls()
        form.feed(page)
        return form if form.action is not None else None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = attributes.get("action") or ""
            self.method = (attributes.get("method") or "get").lower()
        elif tag == "input" and self.action is not None and not self.complete and attributes.get("name"):
            self.fields[attributes["name"]] = attributes.get("value") or ""

    def handle_endtag(self, tag):
        if tag == "form" and self.action is not None:
            self.complete = True


class Browser:
    """Somebody who signs in."""

    def __init__(self, redirect_uri, answers):
        self.redirect_uri = redirect_uri
        self.answers = answers
        self.web = requests.Session()
        self.visited = []

    def sign_in(self, url):
        """The address the client is called back at."""
        answer = self.open("get", url)
        filled_in = False
        for _ in range(MOST_PAGES):
            if answer.is_redirect:
                url = urljoin(answer.url, answer.headers["Location"])
                if self.is_callback(url):
                    return url
                answer = self.open("get", url)
                continue
            form = Form.of(answer.text) if answer.ok else None
            if form is None or filled_in:
                raise Unexpected("the sign-in ended on a page", status=answer.status_code, page=answer.text[:300])
            for name in form.fields.keys() & self.answers.keys():
                form.fields[name] = self.answers[name]
            filled_in = True
            answer = self.open(form.method, urljoin(answer.url, form.action), form.fields)
        raise Unexpected("the sign-in goes round in circles", visited=self.visited)

    def open(self, method, url, fields=None):
        fields = {"params" if method == "get" else "data": fields} if fields else {}
        answer = self.web.request(method, url, allow_redirects=False, timeout=TIMEOUT, **fields)
        self.visited.append(f"{method.upper()} {url.split('?')[0]} {answer.status_code}")
        return answer

    def is_callback(self, url):
        return url.split("?")[0] == self.redirect_uri.split("?")[0]


class Unexpected(Exception):
    """Something that ends the flow."""

    def __init__(self, why, **seen):
        super().__init__(why)
        self.seen = seen


class Report:
    """What is printed."""

    def __init__(self):
        self.good = True

    def step(self, name, ok, **seen):
        self.good &= ok
        print(json.dumps({"step": name, "ok": ok, **seen}, ensure_ascii=False), flush=True)


def claims(token):
    """What a JWT says; nothing of an opaque token."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))


def described(token, whole):
    """A token response and what its JWTs say; the tokens themselves only if they are to be used again."""
    response = {name: "…" if name.endswith("_token") and not whole else value for name, value in token.items()}
    return {"response": response, "access": claims(token["access_token"]), "id": claims(token.get("id_token"))}


def body(answer):
    """An answer's JSON, or its text."""
    try:
        return answer.json()
    except ValueError:
        return answer.text


def refusal(ask):
    """What a token endpoint says against a request; nothing if it grants it."""
    try:
        ask()
    except OAuthError as error:
        return {"error": error.error, "error_description": error.description}
    except requests.HTTPError as error:
        return {"error": f"HTTP {error.response.status_code}"}
    return None


def run(args, report):
    client = OAuth2Session(
        client_id=args.client_id,
        client_secret=args.client_secret,
        token_endpoint_auth_method=args.client_auth if args.client_secret else "none",
        redirect_uri=args.redirect_uri,
        scope=args.scope,
        code_challenge_method="S256",
        default_timeout=TIMEOUT,
    )
    verifier, nonce = generate_token(64), generate_token(24)
    extra = dict(pair.split("=", 1) for pair in args.extra)
    url, state = client.create_authorization_url(args.authorize_url, code_verifier=verifier, nonce=nonce, **extra)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    report.step("authorize", asked.get("code_challenge_method") == "S256", request=asked)

    browser = Browser(args.redirect_uri, {"username": args.user, "password": args.password, "sub": args.user})
    callback = browser.sign_in(url)
    returned = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
    report.step("login", returned.get("state") == state and "code" in returned, visited=browser.visited, callback=returned)

    first = client.fetch_token(args.token_url, authorization_response=callback, state=state, code_verifier=verifier)
    seen = described(first, args.tokens)
    same_nonce = seen["id"] is None or seen["id"].get("nonce") == nonce
    report.step("token", same_nonce and "refresh_token" in first, **seen)

    answer = client.get(args.userinfo_url)
    same_person = answer.ok and (seen["access"] or seen["id"])["sub"] == answer.json()["sub"]
    report.step("userinfo", same_person, status=answer.status_code, body=body(answer))

    # Authlib keeps the refresh token it has where none comes back; where one does, it takes its place.
    second = client.refresh_token(args.token_url)
    rotated = second["refresh_token"] != first["refresh_token"]
    report.step("refresh", second["access_token"] != first["access_token"], rotated=rotated, **described(second, args.tokens))

    def introspect(name, expected):
        if not args.introspect_url:
            return
        server = OAuth2Session(
            client_id=args.introspect_client_id or args.client_id,
            client_secret=args.introspect_client_secret or args.client_secret,
            token_endpoint_auth_method="client_secret_basic",
            default_timeout=TIMEOUT,
        )
        answer = server.introspect_token(args.introspect_url, second["access_token"], "access_token")
        report.step(name, answer.ok and answer.json()["active"] is expected, status=answer.status_code, body=body(answer))

    introspect("introspect", True)
    if not args.revoke_url:
        return

    answer = client.revoke_token(args.revoke_url, second["refresh_token"], "refresh_token")
    report.step("revoke", answer.status_code == 200, status=answer.status_code, body=body(answer))

    answer = client.revoke_token(args.revoke_url, second["refresh_token"], "refresh_token")
    report.step("revoke again", answer.status_code == 200, status=answer.status_code, body=body(answer))

    said = refusal(lambda: client.refresh_token(args.token_url, refresh_token=second["refresh_token"]))
    report.step("refresh after revoke", said is not None and said["error"] == "invalid_grant", refusal=said)

    for name, token in [("first", first), ("refreshed", second)]:
        authorization = {"Authorization": f"Bearer {token['access_token']}"}
        answer = requests.get(args.userinfo_url, headers=authorization, timeout=TIMEOUT)
        seen = {"challenge": answer.headers.get("WWW-Authenticate"), "body": body(answer)}
        report.step(f"userinfo after revoke, {name} token", answer.status_code == 401, status=answer.status_code, **seen)
    introspect("introspect after revoke", False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ["authorize-url", "token-url", "userinfo-url", "client-id", "user", "redirect-uri"]:
        parser.add_argument(f"--{name}", required=True)
    for name in ["revoke-url", "introspect-url", "introspect-client-id", "introspect-client-secret", "client-secret"]:
        parser.add_argument(f"--{name}")
    parser.add_argument("--password", default="")
    parser.add_argument("--scope", default="openid email profile")
    parser.add_argument("--client-auth", default="client_secret_basic",
                        choices=["client_secret_basic", "client_secret_post"])
    parser.add_argument("--extra", action="append", default=[], metavar="NAME=VALUE",
                        help="another parameter of the authorization request, such as prompt=login")
    parser.add_argument("--tokens", action="store_true", help="print the tokens, too")
    args = parser.parse_args()
    report = Report()
    try:
        run(args, report)
    except Unexpected as failure:
        report.step("failed", False, why=str(failure), **failure.seen)
    except (OAuthError, requests.RequestException) as failure:
        report.step("failed", False, why=f"{type(failure).__name__}: {failure}")
    sys.exit(0 if report.good else 1)


if __name__ == "__main__":
    main()
