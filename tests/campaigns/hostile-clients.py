#!/usr/bin/env python3
# requests that cost too much: memory, and the p99 of a good client beside them
"""A node of each protocol, a good client, and one attack after the other.

    bin/campaign hostile-clients [--port 23000] [--protocol raft|caspaxos] [--only ATTACK]

A row tells the most memory that the node had (VmHWM), the good client's p99 at
rest and beside the attack, and how the attackers were answered. All of it is
bounded: an attack takes some ten seconds and 200 MB at most.
"""
import argparse
import collections
import http.client
import json
import multiprocessing
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time

ADDRESS = "127.0.0.1"
GOAL_RATIO = 5
# Requests of the good client in a second.
RATE = 100
# The budget for bodies is 256 MiB; the rest is the store, the caches and the allocator.
GOAL_MIB = 420


def nodes(port, directory):
    """What starts a node of each protocol."""
    binaries = os.environ["GRYADKA_BIN"]
    listen = {"client": port + 2, "peer": port + 3, "admin": port + 4}
    deployment = {
        "cluster": "hostile",
        "node": "p1",
        "data_dir": "p1",
        "listen": {name: f"{ADDRESS}:{number}" for name, number in listen.items()},
        "actors": {
            "acceptor": {"id": "a1", "storage": {"embedded": {}}},
            "proposer": {
                "id": 1,
                "acceptors": [{"id": "a1", "node": "p1"}],
                "quorum": {"read": 1, "write": 1},
            },
        },
    }
    file = os.path.join(directory, "p1.json")
    with open(file, "w") as out:
        json.dump(deployment, out)
    raft = [f"{binaries}/raftkvd", "--id", "1", "--port", str(port)]
    raft += ["--cluster", f"http://{ADDRESS}:{port + 1}"]
    return {"raft": (raft, port), "caspaxos": ([f"{binaries}/gryadka", file], port + 2)}


def status_of(pid, field):
    with open(f"/proc/{pid}/status") as lines:
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    return 0


def good_client(port, seconds, results):
    """Writes and reads at a fixed rate; the milliseconds from when each request was
    due to its answer, so that one that waits makes those after it wait, too."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=60)
    times, errors = [], 0
    began = time.monotonic()
    for number in range(int(seconds * RATE)):
        due = began + number / RATE
        time.sleep(max(0, due - time.monotonic()))
        method, body = ("GET", None) if number % 2 else ("PUT", str(number))
        try:
            connection.request(method, f"/good/{number // 2 % 7}", body)
            answer = connection.getresponse()
            answer.read()
            errors += answer.status not in (200, 204)
        except (OSError, http.client.HTTPException):
            errors += 1
            connection.close()
        times.append((time.monotonic() - due) * 1000)
    results.put((sorted(times), errors))


def send_all(port, messages, seconds, reads):
    """Sends each message on a connection of its own; the statuses that came back."""
    selector = selectors.DefaultSelector()
    waiting = {}
    heard = {}
    for message in messages:
        connection = socket.create_connection((ADDRESS, port), timeout=10)
        connection.setblocking(False)
        waiting[connection] = memoryview(message)
        heard[connection] = b""
        selector.register(connection, selectors.EVENT_WRITE | (selectors.EVENT_READ if reads else 0))
    end = time.monotonic() + seconds
    while time.monotonic() < end and selector.get_map():
        for key, events in selector.select(0.1):
            connection = key.fileobj
            try:
                if events & selectors.EVENT_READ:
                    piece = connection.recv(65536)
                    heard[connection] += piece[:64]
                    if not piece:
                        selector.unregister(connection)
                        continue
                if events & selectors.EVENT_WRITE:
                    sent = connection.send(waiting[connection][:65536])
                    waiting[connection] = waiting[connection][sent:]
                    if not waiting[connection]:
                        if reads:
                            selector.modify(connection, selectors.EVENT_READ)
                        else:
                            selector.unregister(connection)
            except OSError:
                selector.unregister(connection)
    if not reads:
        time.sleep(max(0, end - time.monotonic()))
    statuses = collections.Counter(
        answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "none"
        for answer in heard.values()
    )
    return statuses


def head(method, path, extra, port):
    return f"{method} {path} HTTP/1.1\r\nHost: {ADDRESS}:{port}\r\n{extra}\r\n".encode()


def pipelined(port):
    requests = head("GET", "/good/1", "", port) * 60_000
    return [requests] * 200, False


def short_pipelined(port):
    requests = b"GET /livez HTTP/1.1\nHost:localhost\n\n" * 100_000
    return [requests] * 200, False


def configuration(port):
    node = '{"id":"a%d","peer":"http://127.0.0.1:1"}'
    nodes = ",".join(node % number for number in range(60_000))
    lists = '{"nodes":[%s],"quorum":1}' % nodes
    one = '{"nodes":[{"id":"a1"}],"quorum":1}'
    body = '{"configVersion":1,"prepare":%s,"accept":%s}' % (lists, one)
    extra = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return [head("POST", "/configuration", extra, port) + body.encode()], True


def form(port):
    body = "&a" * 1_500_000
    extra = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
    return [head("PUT", "/v2/keys/k", extra, port) + body.encode()] * 10, True


def tiny_chunks(port):
    body = b"1\r\nx\r\n" * 100_000
    return [head("PUT", "/k", "Transfer-Encoding: chunked\r\n", port) + body] * 200, True


def tiny_chunks_to_nobody(port):
    body = b"1\r\nx\r\n" * 100_000
    return [head("GET", "/livez", "Transfer-Encoding: chunked\r\n", port) + body] * 200, True


def half_sent(port):
    size = 1 << 20
    request = head("PUT", "/k", f"Content-Length: {size}\r\n", port) + b"x" * (size - 1)
    return [request] * 300, True


def empty_lines(port):
    size = 1 << 20
    request = head("PUT", "/k", f"Content-Length: {size}\r\n", port) + b"\n" * size
    return [request], True


ATTACKS = {
    "pipelined, not read": pipelined,
    "short pipelined, not read": short_pipelined,
    "large configuration": configuration,
    "forms of many parameters": form,
    "one-byte chunks": tiny_chunks,
    "one-byte chunks to nobody": tiny_chunks_to_nobody,
    "half-sent bodies": half_sent,
    "values of empty lines": empty_lines,
}


def p99(times):
    return times[int(len(times) * 0.99)] if times else float("inf")


def beside(port, seconds, attack):
    """The good client's times while something goes on."""
    results = multiprocessing.Queue()
    client = multiprocessing.Process(target=good_client, args=(port, seconds, results))
    client.start()
    time.sleep(0.3)
    said = attack()
    times, errors = results.get()
    client.join()
    return times, errors, said


def attacker(port, prepare, seconds):
    messages, reads = prepare(port)
    pipe = multiprocessing.Queue()

    def run():
        pipe.put(send_all(port, messages, seconds, reads))

    process = multiprocessing.Process(target=run)
    process.start()
    said = pipe.get()
    process.join()
    return said


def measure(protocol, command, port, directory, only, seconds):
    for name, prepare in ATTACKS.items():
        if only and only not in name:
            continue
        work = tempfile.mkdtemp(dir=directory)
        with open(os.path.join(work, "log"), "w") as log:
            node = subprocess.Popen(command, cwd=work, stdout=log, stderr=log)
        try:
            wait_ready(node, port)
            rest, _, _ = beside(port, 3, lambda: None)
            before = status_of(node.pid, "VmRSS")
            times, errors, said = beside(port, seconds, lambda: attacker(port, prepare, seconds - 1))
            high, now = status_of(node.pid, "VmHWM"), node.poll()
            ratio = p99(times) / p99(rest)
            verdict = "ok" if ratio <= GOAL_RATIO and high <= GOAL_MIB and now is None else "MISSED"
            said = " ".join(f"{status}:{count}" for status, count in sorted(said.items()))
            print(
                f"{protocol:9} {name:27} {before:7.0f} {high:7.0f} {p99(rest):8.1f} {p99(times):8.1f} "
                f"{times[-1]:8.1f} {ratio:6.1f} {errors:6} {len(times):7}  {verdict:6} {said}",
                flush=True,
            )
        finally:
            node.send_signal(signal.SIGKILL)
            node.wait()


def wait_ready(node, port):
    for _ in range(200):
        if node.poll() is not None:
            sys.exit(f"the node ended with {node.returncode}")
        try:
            connection = http.client.HTTPConnection(ADDRESS, port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit("the node does not become ready")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=23000)
    parser.add_argument("--protocol")
    parser.add_argument("--only")
    parser.add_argument("--seconds", type=float, default=9)
    arguments = parser.parse_args()
    print(f"goals: p99 beside an attack at most {GOAL_RATIO} times that at rest, at most {GOAL_MIB} MiB")
    print(
        f"{'protocol':9} {'attack':27} {'RSS MiB':>7} {'HWM MiB':>7} {'p99 rest':>8} {'beside':>8} "
        f"{'longest':>8} {'ratio':>6} {'errors':>6} {'served':>7}  {'goal':6} statuses"
    )
    with tempfile.TemporaryDirectory() as directory:
        for protocol, (command, port) in nodes(arguments.port, directory).items():
            if arguments.protocol in (None, protocol):
                measure(protocol, command, port, directory, arguments.only, arguments.seconds)


if __name__ == "__main__":
    main()
