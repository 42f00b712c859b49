"""How `dualattn serve` ends while a page is open: its connection is cut off, without a traceback for each."""

import logging
import socket
import threading

import pytest

from colorization.commands.serve import is_worth_a_line

uvicorn = pytest.importorskip('uvicorn', reason="the page needs uvicorn: pip install 'dualattn[web]'")


async def stream_for_ever(scope, receive, send):
    """What an open page does: it waits for what the server may tell."""
    import asyncio

    if scope['type'] == 'http':
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=b'open', more_body=True))
        await asyncio.sleep(600)


@pytest.mark.parametrize('quiet', [True, False])
def test_an_open_page_is_cut_off(quiet, capfd):
    config = uvicorn.Config(stream_for_ever, '127.0.0.1', 0, log_level='warning', timeout_graceful_shutdown=0)
    logger = logging.getLogger('uvicorn.error')
    if quiet:
        logger.addFilter(is_worth_a_line)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        with socket.create_connection(('127.0.0.1', port), timeout=60) as page:
            page.sendall(b'GET / HTTP/1.1\r\nHost: here\r\n\r\n')
            received = b''
            while b'open' not in received:  # head and body come together, or one after the other
                piece = page.recv(1000)
                assert piece, received
                received += piece
            server.should_exit = True
            thread.join(60)
        assert not thread.is_alive()
        logger.error('something else')
    finally:
        server.should_exit = True
        logger.removeFilter(is_worth_a_line)
    said = capfd.readouterr().err
    assert 'something else' in said
    assert ('Traceback' in said) is not quiet and ('Cancel ' in said) is not quiet
