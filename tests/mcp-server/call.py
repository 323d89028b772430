"""Calls a tool of an MCP server with the SDK's own client: `call.py URL TOOL`, the token on standard input.

Prints `{"result": …}`; or, where the server refuses the request, `{"status": …, "challenge": …}`.
"""

import asyncio
import json
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

refusal = {}


async def note_refusal(response):
    if response.status_code in (401, 403):
        challenge = response.headers.get("www-authenticate")
        refusal.update(status=response.status_code, challenge=challenge)


async def call(url, tool, token):
    http = httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {token}"},
        event_hooks={"response": [note_refusal]},
        timeout=30,
        trust_env=False,
    )
    async with http, Client(streamable_http_client(url, http_client=http)) as client:
        result = await client.call_tool(tool)
        return {"result": json.loads(result.content[0].text)}


def main():
    url, tool = sys.argv[1:]
    token = sys.stdin.readline().strip()
    try:
        answer = asyncio.run(call(url, tool, token))
    except Exception:
        if not refusal:
            raise
        answer = refusal
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
