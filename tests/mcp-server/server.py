"""A small MCP server over streamable HTTP that an authorization server elsewhere protects.

Its one argument is a JSON object of settings (README.md). It prints one JSON line, `{"url": …}`, when it
answers, and ends when its standard input is closed.
"""

import asyncio
import json
import socket
import sys
import threading

import httpx2
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from starlette.responses import JSONResponse

METADATA = "/.well-known/oauth-protected-resource"


class Introspection:
    """Asks the authorization server about each token (RFC 7662)."""

    def __init__(self, issuer, client_id, client_secret):
        self.issuer = issuer
        self.client = (client_id, client_secret)

    async def verify_token(self, token):
        async with httpx2.AsyncClient(trust_env=False) as http:
            place = f"{self.issuer}/.well-known/openid-configuration"
            endpoint = (await http.get(place)).json()["introspection_endpoint"]
            answer = (await http.post(endpoint, data={"token": token}, auth=self.client)).json()
        if not answer.get("active"):
            return None
        audience = answer.get("aud")
        return AccessToken(
            token=token,
            client_id=answer["client_id"],
            scopes=answer.get("scope", "").split(),
            expires_at=answer.get("exp"),
            # The SDK compares it with its own address.
            resource=audience[0] if isinstance(audience, list) else audience,
            subject=answer.get("sub"),
        )


class StepUp:
    """Refuses the tool `write` without the scope for it, as a server does at run time (403)."""

    def __init__(self, app, verifier, resource_metadata):
        self.app = app
        self.verifier = verifier
        self.resource_metadata = resource_metadata

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if self.is_write(body) and not await self.may_write(scope):
            challenge = (
                'Bearer error="insufficient_scope", scope="api:write", '
                f'resource_metadata="{self.resource_metadata}", '
                'error_description="writing needs leave"'
            )
            refusal = JSONResponse(
                {"error": "insufficient_scope"}, 403, {"WWW-Authenticate": challenge}
            )
            return await refusal(scope, receive, send)
        replayed = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay():
            return replayed.pop() if replayed else await receive()

        return await self.app(scope, replay, send)

    @staticmethod
    def is_write(body):
        try:
            message = json.loads(body)
        except ValueError:
            return False
        return (
            isinstance(message, dict)
            and message.get("method") == "tools/call"
            and message.get("params", {}).get("name") == "write"
        )

    async def may_write(self, scope):
        field = dict(scope["headers"]).get(b"authorization", b"").decode()
        token = await self.verifier.verify_token(field.removeprefix("Bearer "))
        # Whoever has no token at all is told so further in.
        return token is None or "api:write" in token.scopes


class OtherMetadata:
    """Says other things of the resource than are true."""

    def __init__(self, app, document):
        self.app = app
        self.document = document

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"].startswith(METADATA):
            return await JSONResponse(self.document)(scope, receive, send)
        return await self.app(scope, receive, send)


def application(settings, url):
    issuer = settings["issuer"]
    verifier = Introspection(issuer, settings["clientId"], settings["clientSecret"])
    mcp = MCPServer(
        "notes of the tests",
        token_verifier=verifier,
        log_level="WARNING",
        auth=AuthSettings(
            issuer_url=issuer,
            resource_server_url=url,
            required_scopes=["api:read"],
            validate_token_resource=True,
        ),
    )

    @mcp.tool()
    def whoami() -> dict:
        """Who calls, and with which scopes."""
        token = get_access_token()
        return {"client_id": token.client_id, "sub": token.subject, "scopes": sorted(token.scopes)}

    @mcp.tool()
    def write() -> dict:
        """Something that needs another scope."""
        return {"written": True}

    base, path = url.removesuffix("/mcp"), "/mcp"
    app = mcp.streamable_http_app(streamable_http_path=path)
    app = StepUp(app, verifier, f"{base}{METADATA}{path}")
    if "metadata" in settings:
        truth = {"resource": url, "authorization_servers": [issuer]}
        app = OtherMetadata(app, {**truth, **settings["metadata"]})
    return app


def main():
    settings = json.loads(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", settings.get("port", 0)))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    config = uvicorn.Config(application(settings, url), log_level="warning")
    server = uvicorn.Server(config)

    def until_stdin_closes():
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=until_stdin_closes, daemon=True).start()
    # The socket listens already: whoever connects now is answered.
    print(json.dumps({"url": url}), flush=True)
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
