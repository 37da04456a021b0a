"""The client against servers that are slow, strange or gone."""

import socket
import threading

import pytest

from supervisor.control.client import Client, NoDaemon, Refused
from tests.control.served import LIMIT, served


@pytest.fixture
def listening(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(0)
        yield sock


def answering(listening, *answers):
    """Answer the first connection's first request with these bytes, then close."""

    def answer():
        connection = listening.accept()[0]
        with connection:
            connection.recv(65536)
            for data in answers:
                connection.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_nobody_at_all_is_no_daemon(path):
    with pytest.raises(NoDaemon, match="nobody listens at"):
        Client.connect(path)


def test_a_daemon_that_does_not_answer_is_a_timeout(path, listening):
    with Client.connect(path) as client, pytest.raises(Refused, match="in time") as refused:
        client.call("status", {}, 0.05)
    assert refused.value.kind == "timeout"


def test_a_daemon_that_takes_no_calls_is_a_timeout(path, listening):
    with Client.connect(path, 0.05), pytest.raises(Refused, match="takes calls") as refused:
        Client.connect(path, 0.05)
    assert refused.value.kind == "timeout"


@pytest.mark.parametrize("answer", [b"nonsense\n", b"[]\n", b"\xff\n"])
def test_an_answer_that_is_none_is_refused(path, listening, answer):
    thread = answering(listening, answer)
    with Client.connect(path) as client, pytest.raises(Refused, match="is that keepd"):
        client.call("status", {}, LIMIT)
    thread.join()


def test_half_an_answer_is_a_daemon_that_has_ended(path, listening):
    thread = answering(listening, b'{"jsonrpc":"2.0","id":1,"resu')
    with Client.connect(path) as client, pytest.raises(NoDaemon, match="ended"):
        client.call("status", {}, LIMIT)
    thread.join()


def test_what_is_not_the_answer_is_passed_over_and_a_cut_one_is_put_together(path, listening):
    notes = (
        b'{"jsonrpc":"2.0","method":"event","params":{}}\n{"jsonrpc":"2.0","id":99,"result":0}\n'
    )
    thread = answering(listening, notes, b'{"jsonrpc":"2.0",', b'"id":1,"result":[1,2]}\n')
    with Client.connect(path) as client:
        assert client.call("status", {}, LIMIT) == [1, 2]
    thread.join()


def test_the_end_of_the_daemon_can_be_waited_for(path):
    with served(path, lambda poller: {}):
        client = Client.connect(path)
        assert client.ended(0.05) is False
    assert client.ended(LIMIT) is True


def test_an_error_brings_its_kind_its_words_and_its_data(path):
    def build(poller):
        return {"no": lambda params, reply: reply.error("failed", "cannot", replicas=["a/0"])}

    with (
        served(path, build),
        Client.connect(path) as client,
        pytest.raises(Refused, match="cannot") as refused,
    ):
        client.call("no", {})
    assert (refused.value.kind, refused.value.data) == ("failed", {"replicas": ["a/0"]})
