"""The server's own app, over devices that die as its run configuration says."""

from __future__ import annotations

from fl_server.flower.app import main
from tests.support.leaping import leaping_app

app = leaping_app(main)
