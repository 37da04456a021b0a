"""Runs one class of CPython's own tests against our classes; a program of its own.

    python cpython.py fork|spawn CLASS [LEFT_OUT ...]

CLASS is that of test._test_multiprocessing, such as _TestQueue. A line of JSON at the end tells
how many tests ran, were skipped, and failed.
"""

import json
import multiprocessing
import sys
import unittest

from test import _test_multiprocessing as theirs

import supervisor.ipc

# What of theirs is replaced by ours, where there is one: Process and Pool as well, once they exist.
NAMES = ("Queue", "JoinableQueue", "SimpleQueue", "Lock", "RLock", "Process", "Pool")
OURS = {name: getattr(supervisor.ipc, name) for name in NAMES if name in supervisor.ipc.__all__}


def replace():
    """Put our classes where their tests look for them: in a mixin, and in multiprocessing."""
    for name, ours in OURS.items():
        if hasattr(theirs.ProcessesMixin, name):
            setattr(theirs.ProcessesMixin, name, ours)
        if name != "Process":  # the module's is what starts things; Mixin.Process is the tests'
            setattr(multiprocessing, name, ours)


def main(method, name, *left_out):
    theirs.install_tests_in_module_dict(globals(), method)
    globals()["setUpModule"]()
    replace()
    case = globals().get(f"WithProcesses{name[1:]}") or globals()[name]
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(
        test for test in loader.loadTestsFromTestCase(case) if test._testMethodName not in left_out
    )
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = [test.id().rpartition(".")[2] for test, _ in (*result.failures, *result.errors)]
    skipped = [test.id().rpartition(".")[2] for test, _ in result.skipped]
    print(json.dumps({"ran": result.testsRun, "failed": failed, "skipped": skipped}))


if __name__ == "__main__":
    main(*sys.argv[1:])
else:  # a child that was spawned looks for its test's class here
    theirs.install_tests_in_module_dict(globals(), "spawn")
    replace()
