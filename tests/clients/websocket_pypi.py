"""Direct chat over WebSockets with PyPI's websockets: websocket_pypi.py URL [CERTIFICATE]."""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

URL = sys.argv[1]
CONTEXT = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else None
UNIQUE = os.getpid()


async def login(name, **options):
    socket = await connect(URL, subprotocols=["hawser.json.v1"], ssl=CONTEXT, **options)
    user = f"{name}-{UNIQUE}"
    await say(socket, type="hello", user=user, device="pypi")
    await heard(socket, "welcome")
    return socket, user


async def say(socket, **message):
    await socket.send(json.dumps(message))


async def heard(socket, kind):
    """The next message of a kind; own entries and the like are passed over."""
    async with asyncio.timeout(20):
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == kind:
                return message


async def users_chat_compressed_or_not():
    for compression in ("deflate", None):
        one, _ = await login("pypi-one", compression=compression)
        other, name = await login("pypi-other", compression=compression)
        for number in range(1, 21):
            await say(
                one,
                type="request",
                client_seq=number,
                to=name,
                text=f"message {number} " * 50,
            )
            assert (await heard(one, "acknowledge"))["client_seq"] == number
            came = await heard(other, "notify")
            assert came["text"] == f"message {number} " * 50
            await say(other, type="notify_acknowledge", number=came["number"])
        await one.close()
        await other.close()


async def a_message_too_long_is_refused_with_1009():
    socket, _ = await login("pypi-long", compression=None)
    try:
        await socket.send("x" * (20 << 20))
        await socket.recv()
    except ConnectionClosedError as closed:
        assert closed.rcvd and closed.rcvd.code == 1009, closed


async def fragments_are_joined():
    socket, _ = await login("pypi-fragments")
    text = json.dumps({"type": "sync", "request": 3, "limit": 5})

    async def parts():
        for at in range(0, len(text), 7):
            yield text[at : at + 7]

    await socket.send(parts())
    assert (await heard(socket, "page"))["request"] == 3
    await socket.close()


for step in (
    users_chat_compressed_or_not,
    fragments_are_joined,
    a_message_too_long_is_refused_with_1009,
):
    asyncio.run(step())
    print("ok", step.__name__)
