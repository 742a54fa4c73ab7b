"""Faults below HTTP, or of answers that are no whole answers."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from rig.fault import Fault, lasting, once
from rig.proxy import Misbehaviour

if TYPE_CHECKING:
    from rig.proxy import Exchange

_MIB = 1 << 20
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
# A mebibyte of zeros a hundred times over in a few kilobytes, which can be sent for ever.
_BOMB = gzip.compress(bytes(100 * _MIB), 9)


def reset_while_asked(exchange: Exchange) -> None:
    exchange.body(100)
    exchange.reset()


def reset_before_the_answer(exchange: Exchange) -> None:
    exchange.body()
    exchange.reset()


def commit_then_cut(exchange: Exchange) -> None:
    exchange.forward()
    exchange.close()


def commit_then_reset_in_the_answer(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send((answer.head + answer.body)[:9])
    exchange.reset()


def commit_then_silence(exchange: Exchange) -> None:
    exchange.forward()
    exchange.hang()


def silence(exchange: Exchange) -> None:
    exchange.hang()


def drip_the_head(exchange: Exchange) -> None:
    exchange.body()
    exchange.drip(_HEAD * 100, 0.3)


def drip_the_body(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Content-Length: 1000\r\n\r\n")
    exchange.drip(b" " * 1000, 0.3)


def endless_body(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"\r\n")
    exchange.pour(b" " * 65536)


def endless_chunks(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    exchange.pour(b"10000\r\n" + b" " * 65536 + b"\r\n")


def endless_chunk_size(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    exchange.pour(b"0" * 65536)


def gzip_bomb(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    exchange.pour(b"%x\r\n%b\r\n" % (len(_BOMB), _BOMB))


def header_flood(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD)
    exchange.pour(b"X-Flood: " + b"x" * 100 + b"\r\n")


def endless_header(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"X-Long: ")
    exchange.pour(b"x" * 65536)


def continue_first(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" + answer.head + answer.body)


def hints_first(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + answer.head + answer.body)


def continue_for_ever(exchange: Exchange) -> None:
    exchange.body()
    exchange.pour(b"HTTP/1.1 100 Continue\r\n\r\n")


def bad_chunking(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n{}\r\n0\r\n\r\n")
    exchange.close()


def cut_chunk(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{")
    exchange.close()


def content_length_too_long(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Content-Length: 1000\r\n\r\n{}")
    exchange.close()


def content_length_too_short(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(_HEAD + b"Content-Length: 2\r\n\r\n{}" + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert answer.body


def content_length_of_nothing(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(_HEAD + b"Content-Length: -1\r\n\r\n{}")
    exchange.close()


def no_http(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
    exchange.close()


def half_close(exchange: Exchange) -> None:
    exchange.body()
    exchange.half_close()


def close_between_requests(exchange: Exchange) -> None:
    exchange.pass_on()
    exchange.close()


def old_http(exchange: Exchange) -> None:
    answer = exchange.forward()
    exchange.send(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + answer.body)
    exchange.close()


def _at_connection(name: str, handler: object, seen: str, times: int) -> Fault:
    assert callable(handler)
    return Fault(name, Misbehaviour(on_connection=handler, times=times), "delivered", seen)


TRANSPORT_FAULTS = (
    Fault("connection refused, for ever", Misbehaviour(start="refusing"), "kept", "refused", most_requests=0),
    Fault("connection never accepted", Misbehaviour(start="deaf"), "kept", "no answer", most_requests=0),
    _at_connection("reset at the first byte", lambda exchange: exchange.reset(), "reset", 2),
    _at_connection("half-closed at once", lambda exchange: exchange.half_close(), "closed", 2),
    _at_connection("accepted, then silence", lambda exchange: exchange.hang(), "no answer", 1),
    once("reset at byte 100 of the body", reset_while_asked, "reset"),
    once("reset instead of an answer", reset_before_the_answer, "reset", times=2),
    once("commit, then cut", commit_then_cut, "closed", stored=True, times=2),
    once("commit, then reset at byte 9 of the answer", commit_then_reset_in_the_answer, "reset", stored=True),
    once("commit, then silence", commit_then_silence, "no answer", stored=True),
    once("silence, once", silence, "no answer"),
    lasting("silence, for ever", silence, "no answer"),
    once("slow drip of the head", drip_the_head, "no end"),
    once("slow drip of the body", drip_the_body, "no end"),
    once("endless body", endless_body, "too much"),
    once("endless chunks", endless_chunks, "too much"),
    once("endless size of a chunk", endless_chunk_size, "no HTTP"),
    once("gzip bomb", gzip_bomb, "too much"),
    once("header flood", header_flood, "no HTTP"),
    once("endless header", endless_header, "no HTTP"),
    once("100 before the answer", continue_first, "200 {}", stored=True),
    once("103 before the answer", hints_first, "103", stored=True),
    once("100 for ever", continue_for_ever, "no end"),
    once("bad size of a chunk", bad_chunking, "short"),
    once("chunk cut short", cut_chunk, "short"),
    once("content length too long", content_length_too_long, "short"),
    once("content length too short", content_length_too_short, "200 {}", stored=True),
    once("content length -1", content_length_of_nothing, "200 {}"),
    once("no HTTP at all", no_http, "no HTTP"),
    once("half-closed, no answer", half_close, "closed"),
    lasting("closed between requests, for ever", close_between_requests, "200 {}", "delivered", stored=True),
    lasting("HTTP/1.0 without a length, for ever", old_http, "200 {}", "delivered", stored=True),
)
