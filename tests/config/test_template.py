"""`${...}` is filled in where it is promised, never silently with nothing, and never twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.faults import Faults, Mark
from supervisor.config.nodes import Scalar, Text
from supervisor.config.template import Template
from tests.config.written import by

VARIABLES = {"A": "1", "EMPTY": "", "HOST": "example.org"}


def located(text):
    return Text.of(text, Scalar(Mark("f", 1, 1), text, lead=0), "k")


def expanded(text, variables=VARIABLES):
    faults = Faults()
    return Template(variables, faults).expand(located(text)), [str(fault) for fault in faults.all()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("${A}", "1"), ("x${A}y${HOST}", "x1yexample.org"), ("${EMPTY}", "")),
        *(("${NO:-d e}", "d e"), ("${NO:-}", ""), ("${EMPTY:-d}", "d"), ("${A:-d}", "1")),
        *(("$$", "$"), ("$${A}", "${A}"), ("$$$$", "$$"), ("$$${A}", "$1")),
        *(("$A", "$A"), ("$", "$"), ("$(id) $1", "$(id) $1"), ("100%", "100%")),
        *(("${replica}", "0"), ("80${replica}", "800")),
    ],
)
def test_what_is_filled_in(text, value):
    assert expanded(text) == (value, [])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("${HOTS}", "f:1:1: k: the variable HOTS is not set; did you mean 'HOST'?"),
        ("ab ${REPLICA}", "f:1:4: k: the variable REPLICA is not set; set it"),
        ("$$ ${A", "f:1:4: k: '${A' is not closed"),
        ("${}", "f:1:1: k: '${}' is neither ${VAR} nor ${VAR:-default}"),
        ("${A%.*}", "f:1:1: k: '${A%.*}' is neither"),
        ("${A:?no}", "f:1:1: k: '${A:?no}' is neither"),
        ("${A:-${HOST}}", "f:1:1: k: '${A:-$' is not closed, or holds braces"),
    ],
)
def test_what_cannot_be_filled_in_is_told_with_its_column(text, what):
    value, lines = expanded(text)
    assert len(lines) == 1
    assert lines[0].startswith(what)
    assert "${" not in value or "${" in text


@given(st.text(st.sampled_from("ab${}:-\\ \n'")), st.text(st.sampled_from("x${A}")))
def test_no_text_makes_a_template_raise_and_what_was_put_in_is_left_alone(text, value):
    got, lines = expanded(text, {"a": value})
    assert lines or "${a}" not in got.replace(value, "") or "$$" in text
    assert expanded("${a}", {"a": value}) == (value, [])


@given(st.text())
def test_doubled_dollars_give_the_text_itself(text):
    assert expanded(text.replace("$", "$$")) == (text, [])


def test_everything_that_is_promised_is_expanded_for_each_replica(folder):
    folder.write("FROM_FILE=1\n", "env.1")
    folder.write("FROM_FILE=0\n", "env.0")
    plan = folder.plan(
        """
        services:
          web:
            command: [serve, "--port=80${replica}", "${USER}"]
            env: {PORT: "80${replica}"}
            env_file: env.${replica}
            cwd: data/${replica}
            ready: {tcp: "127.0.0.1:80${replica}"}
            replicas: 2
          job:
            python: a:b
            args: ["${USER}", ["${replica}"]]
            kwargs: {to: {deep: "${NO:-x}"}}
            interpreter: ${HOME}/bin/python
            ready: {http: "http://${HOST}/${replica}"}
        """,
        by(HOST="h"),
    )
    one = plan.services["web"][1]
    assert one.command == ("serve", "--port=801", "ada")
    assert (one.env["PORT"], one.env["FROM_FILE"]) == ("801", "1")
    assert one.env_file == (f"{folder.path}/env.1",)
    assert one.cwd == f"{folder.path}/data/1"
    assert one.ready.tcp == "127.0.0.1:801"
    job = plan.services["job"][0]
    assert job.args == ("ada", ["0"])
    assert job.kwargs == {"to": {"deep": "x"}}
    assert job.interpreter == "/home/ada/bin/python"
    assert job.ready.http == "http://h/0"


def test_a_word_that_was_split_inside_of_its_braces_says_what_helps(folder):
    first, *_ = folder.told_of("command: echo ${A:-b c}\n")
    assert first.endswith(
        "is not closed, or holds braces or words of its own; "
        "write $$ for a plain $, a command as a list"
    )


def test_a_regex_of_the_log_may_hold_dollars(folder):
    assert folder.service("command: x\nready: {log: 'up$|${'}\n").ready.log == "up$|${"


def test_the_place_of_a_fault_is_exact_in_quotes_too(folder):
    (line,) = folder.told_of("command: [x, 'abc ${NO}']\n")
    assert line.startswith("keepd.yaml:3:23: services.web.command[1]: the variable NO is not set")
