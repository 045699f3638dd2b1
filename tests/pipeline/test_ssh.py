"""Data on a machine that is reached by SSH, on a local server with SFTP."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.pipeline.clone import Clone
from tests.pipeline.versions import MAKE, add_origin, md5s

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return the file of a private key; the public one is beside it."""
    path = tmp_path / "key"
    pair = asyncssh.generate_private_key("ssh-ed25519")
    pair.write_private_key(path)
    path.chmod(0o600)
    pair.write_public_key(path.with_suffix(".pub"))
    return path


@pytest.fixture
def port(key: Path) -> Iterator[int]:
    """Start a server that lets the owner of the key in."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=str(key.with_suffix(".pub")),
            sftp_factory=True,
        )
    )
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.get_port()

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_data_is_pushed_and_pulled_over_ssh(clone: Clone, port: int, key: Path, tmp_path: Path) -> None:
    add_origin(clone, tmp_path / "origin.git")
    clone.run(*MAKE, "remote", f"URL=ssh://someone@127.0.0.1:{port}{tmp_path}/storage")
    clone.commit("Keep data on another machine")
    clone.git("push", "--quiet", "origin", "main")
    other = Clone(tmp_path / "other")
    clone.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(other.path))
    for each, command in ((clone, "push"), (other, "pull")):
        each.run("dvc", "remote", "modify", "--local", "storage", "keyfile", str(key))
        each.run("dvc", command)
    assert (other.status(), md5s(other)) == ([], md5s(clone))
    stored = {path.parent.name + path.name for path in (tmp_path / "storage" / "files" / "md5").glob("*/*")}
    assert md5s(clone)["models/model.joblib"] in stored
