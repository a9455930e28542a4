"""The MCP SDK as a client of an API behind Mandate: from its 401 to a token that it accepts.

Reads {"server_url", "redirect_uri", "client", "person"} as JSON from standard input, where `client` is one that is
registered already, or {"metadata_url"} where the client's metadata are, or {"token_endpoint_auth_method"} to register
itself with; prints what the API answered, the token, its scope, and the parameters of the authorization request.
"""

import asyncio
import json
import sys
import urllib.parse

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata

from browser import log_in

world = json.load(sys.stdin)
client_given = world["client"]


class Storage:
    tokens = None
    client = None
    if "client_id" in client_given:
        client = OAuthClientInformationFull(redirect_uris=[world["redirect_uri"]], **client_given)

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


storage = Storage()
way = {}


async def redirect(address):
    way["asked"] = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    person = world["person"]
    way["back"] = await asyncio.to_thread(log_in, address, person["name"], person["password"])


async def callback():
    back = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(way["back"]).query))
    return AuthorizationCodeResult(code=back["code"], state=back.get("state"), iss=back.get("iss"))


async def main():
    provider = OAuthClientProvider(
        server_url=world["server_url"],
        client_metadata=OAuthClientMetadata(
            redirect_uris=[world["redirect_uri"]],
            client_name="An MCP client",
            token_endpoint_auth_method=client_given.get("token_endpoint_auth_method"),
        ),
        client_metadata_url=client_given.get("metadata_url"),
        storage=storage,
        redirect_handler=redirect,
        callback_handler=callback,
    )
    async with httpx2.AsyncClient(auth=provider) as http:
        answer = await http.get(world["server_url"])
    tokens = storage.tokens
    print(json.dumps({"status": answer.status_code, "scope": tokens.scope, "token": tokens.access_token, "asked": way["asked"]}))


asyncio.run(main())
