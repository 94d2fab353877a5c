"""The process of the HTTP door: `python -m interfaces.http`, started and watched by `penstock up`."""

from __future__ import annotations

import logging
import sys

import uvicorn

from deployments.parent import end_with_parent
from deployments.secrets import load_secrets
from interfaces.http.app import create_app
from models.errors import PenstockError
from models.settings import settings
from sql.connection import database


def main() -> None:
    end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = settings()
        with database(config) as db:
            uvicorn.run(
                create_app(config, db, load_secrets(config).webhook_secret),
                host=config.host,
                port=config.port,
                http="h11",  # it limits the head of a request, which uvicorn's httptools does not
                access_log=False,
                server_header=False,
                log_config=None,
                timeout_graceful_shutdown=5,
            )
    except PenstockError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
