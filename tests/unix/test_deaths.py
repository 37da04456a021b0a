"""How services end: told once, with all they have started, whatever they do against it."""

import contextlib
import os
import signal

import pytest

from supervisor.core.events import Exited, Gone, Spawned
from supervisor.core.spec import Stop
from supervisor.unix import kin, process
from tests.unix.world import KINDS, status

every_kind = pytest.mark.parametrize("kind", KINDS)
DEAF = "trap '' TERM HUP INT; echo deaf; "
HIDES = "setsid sh -c \"trap '' TERM; echo hidden; exec sleep 1000\" & "


@every_kind
def test_f28_one_that_ignores_term_is_killed(world, kind):
    world.started(world.spec(kind, DEAF + "while :; do sleep 1000; done"))
    world.said("deaf\n")
    world.terminate()
    world.turn(0.3)
    assert world.of("web/0") == [Spawned(1)]
    world.kill()
    assert world.gone() == Gone(1, -9)
    assert world.left() == []


@every_kind
def test_f29_a_grandchild_of_the_group_does_not_survive_the_stop(world, kind):
    deaf = "sh -c \"trap '' TERM; echo deaf; exec sleep 1000\" & "
    world.started(world.spec(kind, deaf + "sleep 1000 & wait"))
    world.said("deaf\n")
    world.terminate()
    assert world.exited() == Exited(1, -15)
    world.terminate()  # TERM to the rest: one of the two obeys
    world.until(lambda: len(world.left()) == 1)
    world.turn(0.1)
    assert world.of("web/0") == [Spawned(1), Exited(1, -15)]
    world.kill()
    assert world.gone() == Gone(1, -15)
    assert world.left() == []


@every_kind
def test_f30_a_grandchild_with_a_session_of_its_own_does_not_survive_a_kill(world, kind):
    world.started(world.spec(kind, HIDES + HIDES + "wait"))
    world.said("hidden\nhidden\n")
    world.kill()
    assert world.gone() == Gone(1, -9)
    assert world.left() == []
    assert world.of("web/0") == [Spawned(1), Gone(1, -9)]


@every_kind
def test_f30_a_daemon_that_lets_go_of_its_parents_is_found(world, kind):
    twice = 'setsid sh -c "setsid sleep 1000 & echo away" & '
    world.started(world.spec(kind, twice + "sleep 1000 & wait"))
    world.said("away\n")
    world.kill()
    world.gone()
    assert world.left() == []


@every_kind
def test_f31_a_crash_leaves_no_grandchild(world, kind):
    for run in range(1, 4):
        pid = world.started(world.spec(kind, HIDES + "wait"), run=run)
        world.said("hidden\n", run=run)
        os.kill(pid, signal.SIGKILL)
        assert world.exited(run=run) == Exited(run, -9)
        world.kill(run=run)
        assert world.gone(run=run) == Gone(run, -9)
        assert world.left() == []


@every_kind
def test_f32_a_grandchild_that_holds_stdout_hides_no_death(world, kind):
    world.started(world.spec(kind, "sleep 1000 & exit 5"))
    assert world.exited() == Exited(1, 5)
    world.kill()
    assert world.gone() == Gone(1, 5)


def test_a_fork_bomb_is_ended(world):
    bomb = "b() { while :; do sleep 0.05 & b2 & wait; done; }; b2() { sleep 0.05; }; "
    world.started(world.spec(script=bomb + "echo lit; b & b & b & b & setsid sh -c 'sleep 3' & b"))
    world.said("lit\n")
    world.turn(0.2)
    world.kill()
    world.gone()
    assert world.left() == []


@every_kind
def test_f23_a_stopped_service_hears_its_stop_signal(world, kind):
    pid = world.started(world.spec(kind))
    os.kill(pid, signal.SIGSTOP)
    world.until(lambda: status(pid, "State").startswith("T"))
    world.terminate()
    assert world.gone() == Gone(1, -15)


def test_the_stop_signal_is_the_services_own(world):
    world.started(world.spec(script="trap 'exit 3' USR1; echo set; while :; do sleep 0.01; done"))
    world.said("set\n")
    world.terminate(spec=world.spec())
    assert world.gone() == Gone(1, -15)
    script = "trap 'exit 3' USR1; echo set; while :; do sleep 0.01; done"
    world.started(world.spec(script=script, stop=Stop(signal="USR1")), run=2)
    world.said("set\n", run=2)
    world.terminate(run=2)
    assert world.gone(run=2) == Gone(2, 3)


def test_a_signal_goes_to_the_leader(world):
    world.started(world.spec(script="trap 'echo hup' HUP; echo set; while :; do sleep 0.01; done"))
    world.said("set\n")
    assert world.processes.signal("web/0", signal.SIGHUP)
    world.said("hup\n")
    assert not world.processes.signal("web/1", signal.SIGHUP)


def test_f14_f43_three_hundred_deaths_in_one_moment_are_each_told_once(world):
    names = [f"web/{n}" for n in range(300)]
    pids = [world.started(world.spec(script="exec sleep 1000"), id=name) for name in names]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    world.until(lambda: world.count(Gone) == 300)
    assert all(world.of(name) == [Spawned(1), Gone(1, -9)] for name in names)
    assert process.children() == []
    for name in names:
        world.started(world.spec(script="exec sleep 1000"), id=name, run=2)
    world.turn(0.1)
    assert world.count(Gone) == 300


@every_kind
def test_f35_to_end_one_that_has_just_ended_is_no_error(world, kind):
    pid = world.started(world.spec(kind))
    os.kill(pid, signal.SIGKILL)
    world.terminate()
    world.kill()
    world.kill()
    assert world.processes.signal("web/0", signal.SIGTERM) in {True, False}
    assert world.gone() == Gone(1, -9)
    world.kill()
    world.terminate()
    assert world.processes.signal("web/0", signal.SIGTERM) is False
    assert world.of("web/0") == [Spawned(1), Gone(1, -9), Gone(1, None)]  # to the KILL


def test_f34_one_that_somebody_else_has_reaped_is_dead(world):
    pid = world.started(world.spec())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert world.gone() == Gone(1, None)


def test_f6_with_sigchld_ignored_the_dead_are_dead(world, signals_kept):
    pid = world.started(world.spec())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.kill(pid, signal.SIGKILL)
    assert world.gone() == Gone(1, None)


def test_the_sweep_finds_what_no_descriptor_and_no_signal_told(world):
    pid = world.started(world.spec())
    world.poller.forget(world.processes._book.by_id["web/0"].pidfd)
    world.poller.forget(world.wake.fileno())
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    world.turn(0.1)
    assert world.of("web/0") == [Spawned(1)]
    world.processes.deaths.sweep()
    assert world.gone() == Gone(1, -9)
    world.poller.watch(world.wake.fileno(), world._signalled)


def test_f40_orphans_that_belong_to_nobody_are_reaped(world):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            os._exit(3)
        os._exit(0)
    os.waitpid(pid, 0)
    world.until(lambda: process.children() == [])


def test_who_has_hidden_from_everything_is_named_and_can_be_ended(plain):
    hidden = "exec env -i /bin/sh -c 'setsid /bin/sleep 1000 >/dev/null 2>&1 & echo $!'"
    plain.started(plain.spec(script=f"setsid sh -c {hidden!r} & wait".replace("'$!'", "$!")))
    plain.until(plain.processes.strangers)
    stranger = plain.processes.strangers()[0]
    assert kin.stat(stranger).parent == os.getpid()
    plain.until(lambda: plain.of("web/0", Gone) or plain.processes.deaths.sweep())
    plain.processes.kill_strangers()
    plain.until(lambda: kin.stat(stranger) is None)
