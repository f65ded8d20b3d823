"""Servers of live streams, as cameras are: RTSP over TCP, and HTTP without an end."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av

_PACKET = 7 * 188  # bytes of a transport stream that go into one packet of RTP
_SDP = "\r\n".join(
    ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=yard", "t=0 0", "m=video 0 RTP/AVP 33", "")
)


def transport_stream(video: Path, out: Path) -> Path:
    """The packets of a video as an MPEG transport stream, which may be begun anywhere."""
    with av.open(str(video)) as source, av.open(str(out), "w", format="mpegts") as file:
        stream = source.streams.video[0]
        copy = file.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                file.mux(packet)
    return out


class _Rtsp(socketserver.StreamRequestHandler):
    """RFC 2326 as far as a player asks: the pictures come interleaved, on the same connection."""

    def handle(self) -> None:
        """Answer until the player wants the stream, or goes."""
        while request := self.rfile.readline():
            headers = {}
            while line := self.rfile.readline().strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            method = request.split()[0].decode()
            self.server.asked.append(method)
            more, body = "Session: 1\r\n", ""
            if method == "OPTIONS":
                more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                body = _SDP
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{more}\r\n{body}"
            self.wfile.write(answer.encode())
            if method == "PLAY":
                with suppress(OSError):  # who looks on has seen enough
                    self._play()
                return

    def _play(self) -> None:
        data = self.server.stream
        for n, i in enumerate(range(0, len(data), _PACKET)):
            part = data[i : i + _PACKET]
            head = struct.pack(">BBHII", 0x80, 33, n & 0xFFFF, 90 * n, 7)
            self.wfile.write(b"$\0" + struct.pack(">H", len(head) + len(part)) + head + part)


class _Endless(socketserver.StreamRequestHandler):
    """HTTP as some cameras speak it: no length is told, and the stream ends with the connection."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        with suppress(OSError):
            self.wfile.write(self.server.stream)


@contextmanager
def streamed(scheme: str, stream: Path) -> Iterator[tuple[str, list[str]]]:
    """The address at which a transport stream is shown, and what its server of RTSP is asked."""
    handler = {"rtsp": _Rtsp, "http": _Endless}[scheme]
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.stream, server.asked = stream.read_bytes(), []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"{scheme}://127.0.0.1:{server.server_address[1]}/yard", server.asked
        finally:
            server.shutdown()
            thread.join()
