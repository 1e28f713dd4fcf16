"""What Cognito's user pools have and the local AWS's lack.

A revocation endpoint (RFC 7009) as Cognito has it: only refresh tokens, the client by Basic (with a secret) or client_id
(without), 200 and nothing in it. The local AWS has the same as an API call, RevokeToken; this looks at the client and
makes that call. And refreshed tokens that still say when the sign-in was.
"""

import json
from urllib.parse import parse_qs

from ministack.services import cognito

REVOKE = "/oauth2/revoke"
DISCOVERY = "/.well-known/openid-configuration"


class RevocationEndpoint:
    """Answers the requests to the endpoint, and names it in discovery documents; passes on everything else."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", REVOKE):
            status, answer = revoke(dict(scope["headers"]), await whole_body(receive))
            await respond(send, status, answer)
        elif scope["type"] == "http" and scope["path"].endswith(DISCOVERY):
            await self.app(scope, receive, Announced(send))
        else:
            await self.app(scope, receive, send)


class Announced:
    """Lets a discovery document through with the endpoint in it."""

    def __init__(self, send):
        self.send = send
        self.start = None
        self.body = b""

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            self.start = message
            return
        self.body += message.get("body", b"")
        if message.get("more_body"):
            return
        if self.start["status"] == 200:
            document = json.loads(self.body)
            document["revocation_endpoint"] = document["token_endpoint"].removesuffix("/token") + "/revoke"
            self.body = json.dumps(document).encode()
        length = (b"content-length", str(len(self.body)).encode())
        headers = [pair for pair in self.start["headers"] if pair[0].lower() != b"content-length"] + [length]
        await self.send({**self.start, "headers": headers})
        await self.send({"type": "http.response.body", "body": self.body})


def revoke(headers, body):
    """The status and the document that answer a request."""
    form = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
    headers = {"authorization": headers.get(b"authorization", b"").decode("latin-1")}
    client_id, secret = cognito._authenticate_client(headers, form)
    pool_id, _, client = cognito._find_pool_by_client_id(client_id)
    if not client or (client.get("ClientSecret") or "") != secret:
        return 400, {"error": "invalid_client"}
    if not form.get("token"):
        return 400, {"error": "invalid_request", "error_description": "token is required"}
    claims = cognito._token_claims(form["token"])
    if claims.get("token_use") in ("access", "id"):
        return 400, {"error": "unsupported_token_type"}
    # A token that is none, or somebody else's, is as good as revoked.
    if claims.get("token_use") == "refresh" and claims.get("client_id") == client_id:
        cognito._revoke_token({"Token": form["token"], "ClientId": client_id})
    return 200, None


def keep_sign_ins():
    """Has refreshed tokens say when the sign-in was and who signed in, as OpenID Connect Core §12.2 and Cognito have it."""
    sign, make, signed_in_at = cognito._signed_jwt, cognito._fake_token, {}

    def signed(claims, *others):
        if "auth_time" in claims and "origin_jti" in claims:
            claims["auth_time"] = signed_in_at.setdefault(claims["origin_jti"], claims["auth_time"])
        return sign(claims, *others)

    def made(sub, pool_id, *others, groups=None, username="", **more):
        if groups is None and username:
            pool = cognito._get_pool_unscoped(pool_id)
            groups = (pool["_users"].get(username) or {}).get("_groups", []) if pool else []
        return make(sub, pool_id, *others, groups=groups, username=username, **more)

    cognito._signed_jwt, cognito._fake_token = signed, made


async def whole_body(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def respond(send, status, document):
    body = b"" if document is None else json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
