"""Who waits for whom, and which waiting can never end."""

from supervisor.core.spec import Condition


def test_a_list_of_dependencies_means_ready(folder):
    more = "services: {a: {command: x, restart: never}, b: {command: x}, web: {command: x, "
    both = folder.plan(more + "depends_on: [a, b]}}").services["web"][0]
    assert both.depends_on == {"a": Condition.READY, "b": Condition.READY}
    some = folder.plan(more + "depends_on: {a: completed, b: started}}}").services["web"][0]
    assert some.depends_on == {"a": Condition.COMPLETED, "b": Condition.STARTED}


def test_what_restarts_always_never_completes(folder):
    (line,) = folder.told(
        "services: {a: {command: x}, b: {command: x, depends_on: {a: completed}}}"
    )
    assert line.endswith(
        "services.b.depends_on.a: 'a' never completes: it has restart: always; "
        "give 'a' restart: on-failure or never"
    )


def test_services_that_wait_for_each_other_are_told_with_the_path_of_the_circle(folder):
    lines = folder.told("""\
        services:
          z: {command: x, depends_on: [a]}
          a: {command: x, depends_on: [b]}
          b: {command: x, depends_on: [c, a]}
          c: {command: x, depends_on: [a]}
          d: {command: x, depends_on: [d]}
    """)
    assert [line.partition(".depends_on: ")[2] for line in lines] == [
        "services wait for each other: a -> b -> a",
        "services wait for each other: a -> b -> c -> a",
        "it waits for itself: d -> d",
    ]


def test_a_long_circle_is_told_shortened(folder):
    services = "\n".join(
        f"  s{n}: {{command: x, depends_on: [s{(n + 1) % 500}]}}" for n in range(500)
    )
    (line,) = folder.told(f"services:\n{services}\n")
    assert line.startswith("keepd.yaml:2:33: services.s0.depends_on: services wait for each other:")
    assert line.endswith("s17 -> ... -> s499 -> s0")
