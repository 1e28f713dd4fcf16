"""Starts the local AWS, changed only in how fast it answers, and with the whole of a user pool (`cognito.py`).

Answers leave at once: its Lambda runtime interface writes the head and the body of an event separately, and without
TCP_NODELAY the kernel holds the body back until the head is acknowledged, which costs every invocation 40 ms.

uvicorn serves it instead of hypercorn, which spends as long on a request as the update of an item takes.

Python looks for garbage cycles less often: the tables are millions of objects, and none of them ever is one.
"""

import gc
from socketserver import StreamRequestHandler

import hypercorn.asyncio
import uvicorn
from cognito import RevocationEndpoint, keep_sign_ins

StreamRequestHandler.disable_nagle_algorithm = True
gc.set_threshold(100_000, 50, 100)


async def serve(app, config):
    """Takes the place of hypercorn's function of this name, so that everything before and after it stays as it is."""
    host, port = config.bind[0].rsplit(":", 1)
    server = uvicorn.Config(
        RevocationEndpoint(app),
        host=host,
        port=int(port),
        ws="none",
        lifespan="on",
        timeout_keep_alive=config.keep_alive_timeout,
        timeout_graceful_shutdown=config.graceful_timeout,
        # The caller and the account are context variables: no request may inherit another's.
        reset_contextvars=True,
        # What the application does itself, or hypercorn does not do.
        server_header=False,
        date_header=False,
        proxy_headers=False,
        access_log=False,
        log_config=None,
    )
    await uvicorn.Server(server).serve()


if __name__ == "__main__":
    from ministack.app import main

    keep_sign_ins()
    hypercorn.asyncio.serve = serve
    main()
