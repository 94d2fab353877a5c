"""HTTP/2 where a server offers it, over real TLS: and whoever gives up still stops the server."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backends.registry import make
from backends.testing import eventually
from models.calls import ModelCallError
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind

from .conftest import in_seconds, make_request


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "penstock test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert, private


class Server:
    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.closed = 0
        self.requests: list[dict[str, str]] = []
        self.stall = False  # the next answer stops in the middle


def event(text: str, finish: str | None = None) -> bytes:
    choices = [{"delta": {"content": text}, "finish_reason": finish}]
    return b"data: " + orjson.dumps({"model": "m", "choices": choices}) + b"\n\n"


@asynccontextmanager
async def http2_server(certificate: tuple[Path, Path]) -> AsyncIterator[Server]:
    server = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        server.connections += 1
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        try:
            while data := await reader.read(65536):
                for seen in connection.receive_data(data):
                    match seen:
                        case h2.events.RequestReceived(headers=headers):
                            server.requests.append(
                                {name.decode(): value.decode() for name, value in headers or ()}
                            )
                        case h2.events.DataReceived(stream_id=stream, flow_controlled_length=size):
                            assert size is not None
                            assert stream is not None
                            connection.acknowledge_received_data(size, stream)
                        case h2.events.StreamEnded(stream_id=stream):
                            assert stream is not None
                            head = [(":status", "200"), ("content-type", "text/event-stream")]
                            connection.send_headers(stream, head)
                            connection.send_data(stream, event("It starts"))
                            if not server.stall:
                                last = event(" at 02:30.", "stop") + b"data: [DONE]\n\n"
                                connection.send_data(stream, last, end_stream=True)
                            server.stall = False
                writer.write(connection.data_to_send())
                await writer.drain()
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            server.closed += 1
            writer.close()
            serving.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    server.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        left = list(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def test_spoken_where_it_is_offered_and_left_by_closing(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with http2_server(certificate) as server:
        given = {"backend": "openai", "url": server.url, "slots": 2, "stall_timeout": 0.2, "api_key": "sk-1"}
        backend = make(Endpoint.model_validate(given))
        for _ in range(3):
            assert (await backend.answer(make_request("m"), in_seconds(5))).text == "It starts at 02:30."
        assert server.connections == 1
        assert server.requests[0][":path"] == "/chat/completions"
        assert server.requests[0]["authorization"] == "Bearer sk-1"
        server.stall = True
        with pytest.raises(ModelCallError) as caught:
            await backend.answer(make_request("m"), in_seconds(5))
        assert caught.value.timeout is TimeoutKind.STALL
        await eventually(lambda: server.closed == 1, "the connection of the call that was given up is closed")
        assert (await backend.answer(make_request("m"), in_seconds(5))).text
        assert server.connections == 2
        await backend.close()


async def test_a_certificate_that_is_not_trusted_is_no_connection(certificate: tuple[Path, Path]) -> None:
    async with http2_server(certificate) as server:
        backend = make(Endpoint(backend="openai", url=server.url))
        with pytest.raises(ModelCallError, match="certificate") as caught:
            await backend.answer(make_request("m"), in_seconds(5))
        await backend.close()
    assert caught.value.error_type is ErrorType.CONNECTION
