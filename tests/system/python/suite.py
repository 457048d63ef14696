#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""redis-py's own suite: direct, through lendis.ConnectionPool, and with the library preloaded.

    make python-suite SUITE=/path/to/redis-py [WAYS="direct pool preload"] [TESTS="tests/..."]

SUITE is a checkout of redis-py (its package is used, too; one that has only ``tests`` is run with
the package that is installed). Said is each test that passes direct and not in another way; logs
are suite-WAY.log in $TMPDIR. It is no part of make check: the suite is not ours.

What is known not to pass, and why, is in lendis-python(7), section DIFFERENCES.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from support import BUILD, ROOT, Site, need

need("pytest", "pytest_asyncio", "pytest_timeout")

# These put something in the place of a connection's parser, and wait for what it does.
KEPT = "not test_reconnect_socket_error and not test_base_exception"
# These test other servers, or nothing that has a connection.
LEFT_OUT = ("cluster", "sentinel", "ssl", "bloom", "json", "search", "timeseries", "graph", "vsets",
            "entraid", "credentials", "auth", "scenario", "utils", "backoff", "parsers")


def files_of(suite):
    """The files that are run."""
    chosen = os.environ.get("TESTS", "").split()
    if chosen:
        return chosen
    found = []
    for folder, _, names in os.walk(os.path.join(suite, "tests")):
        found += [os.path.relpath(os.path.join(folder, name), suite) for name in names
                  if name.startswith("test_") and name.endswith(".py")]
    return sorted(name for name in found if not any(word in name for word in LEFT_OUT))


def results(report):
    """Of each test, what it came to."""
    found = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag: child.get("message") or "" for child in case}
        name = f"{case.get('classname')}::{case.get('name')}"
        for kind in ("error", "failure", "skipped"):
            if kind in kinds:
                found[name] = kind, (kinds[kind].splitlines() or [""])[0]
                break
        else:
            found.setdefault(name, ("passed", ""))
    return found


def command_of(site, way):
    """How pytest is run, and with which environment."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=native",
               "--timeout", "60", "--timeout-method", "signal", "-k", KEPT,
               "--redis-url", f"redis://127.0.0.1:{site.port}/0"]
    for option in ("asyncio_mode=auto", "filterwarnings=default", "addopts="):
        command += ["-o", option]
    environment = dict(os.environ, LENDIS_SOCKET=site.socket)
    if way == "pool":
        command += ["-p", "suite_plugin"]
        environment["PYTHONPATH"] += os.pathsep + os.path.dirname(os.path.abspath(__file__))
    elif way == "preload":
        command.insert(0, os.path.join(BUILD, "lendis-run"))
    return command, environment


def run_suite(site, suite, way):
    """Runs it one way, a file at a time: one that hangs costs no other its results."""
    command, environment = command_of(site, way)
    report = os.path.join(site.folder, "report.xml")
    found = {}
    with open(os.path.join(tempfile.gettempdir(), f"suite-{way}.log"), "wb") as log:
        for name in files_of(suite):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(report)
            try:
                subprocess.run([*command, "--junitxml", report, name], cwd=suite, env=environment,
                               stdout=log, stderr=log, timeout=900)
                found.update(results(report))
            except (subprocess.TimeoutExpired, FileNotFoundError) as error:
                found[name] = "hung", type(error).__name__
    leases = site.metric("lendis_leases_total") + site.metric("lendis_handed_total")
    return found, leases


def main():
    suite = os.path.abspath(os.environ.get("SUITE") or sys.argv[1])
    ways = os.environ.get("WAYS", "direct pool preload").split()
    found = {}
    for way in ways:
        site = Site(size=64, port=True)
        try:
            found[way], leases = run_suite(site, suite, way)
        finally:
            site.close()
        counts = {}
        for kind, _ in found[way].values():
            counts[kind] = counts.get(kind, 0) + 1
        print(f"{way}: {counts}, {leases:.0f} leases and commands handed over", flush=True)
    if "direct" not in found:
        return 0
    differences = 0
    for way in ways[1:]:
        print(f"---- pass direct, and not by {way}:")
        for name, (kind, _) in found["direct"].items():
            other, why = found[way].get(name, ("missing", ""))
            if kind == "passed" and other != "passed":
                differences += 1
                print(f"{name}: {other}: {why[:160]}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
