"""A process that has one server's token renewed again and again: `oauth_renewer.py DIRECTORY URL KIND`.

It ends when there is a file `stop` in the directory. `gateway` has four callers that share a broker, `cron`
makes a new broker every time. Prints one line of JSON: how often a caller got another token.
"""

import asyncio
import json
import sys
from pathlib import Path

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.oauth.broker import OAuthBroker

directory, url, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
settings = McpServerSettings.model_validate({"url": url, "auth": "oauth"})


async def main() -> None:
    renewed = 0
    broker = OAuthBroker(directory)
    callers = 4 if kind == "gateway" else 1
    while not (directory / "stop").exists():
        if kind == "cron":
            broker = OAuthBroker(directory)
        provider = broker.make_auth("notes", settings)
        assert provider is not None
        failed = await provider.token()
        found = await asyncio.gather(*(provider.recover(failed) for _ in range(callers)))
        assert failed not in found
        provider.worked(found[0])
        renewed += callers
        await broker.aclose()
    print(json.dumps({"renewed": renewed}))


asyncio.run(main())
