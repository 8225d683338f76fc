"""Processes that a signal ends are looked at once more, and see no difference before."""

import resource
import signal

import pytest
from libc.harness import both_heaps, build, needs_engine, run

from heapwitness.layout.events import Type, When

pytestmark = needs_engine

SEEN = [
    "starts_with_defaults",
    "reads_back_what_it_set",
    "every_function_gives_what_was_there",
    "handlers_and_ignoring_work",
    "waits_for_signals",
    "ignored_stays_ignored_in_other_programs",
    "children_of_forks_end_by_signals",
    "a_core_is_dumped_as_before",
    "signal_stacks_of_any_size_change_no_end",
    "a_signal_without_room_for_its_frame_ends_it",
]

ENDS = {
    "waits": -signal.SIGALRM,
    "raises": -signal.SIGTERM,
    "kills_itself": -signal.SIGUSR1,
    "writes_to_a_broken_pipe": -signal.SIGPIPE,
    "sets_the_default_again": -signal.SIGHUP,
    "unblocks": -signal.SIGTERM,
    "suspends": -signal.SIGTERM,
    "a_thread_raises": -signal.SIGUSR2,
    "a_thread_with_little_stack_raises": -signal.SIGUSR2,
    "another_stack_is_small": -signal.SIGUSR2,
    "ends_while_it_allocates": -signal.SIGTERM,
    "gets_it_twice": -signal.SIGTERM,
    "calls_exit_group": 7,
    "exits_quickly": 7,
}


def as_started_by_init() -> None:
    """Signals have their default actions, and no core is dumped."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@both_heaps
@pytest.mark.parametrize("case", SEEN)
def test_program_sees_no_difference(case: str, with_engine: bool) -> None:
    run(build("endings.c"), case, with_engine=with_engine, before=as_started_by_init).assert_clean()


@pytest.mark.parametrize("case", ENDS)
def test_whatever_ends_a_process_its_heap_is_checked(case: str) -> None:
    outcome = run(build("endings.c"), case, before=as_started_by_init)

    assert (outcome.status, outcome.stderr) == (ENDS[case], "")
    assert [one.when for one in outcome.findings] == [When.EXIT]
    assert [one.type for one in outcome.events].count(Type.EXIT) == 1


def test_operation_that_was_left_in_the_middle_keeps_no_process_alive() -> None:
    outcome = run(build("endings.c"), "ends_after_an_operation_was_left", before=as_started_by_init)

    assert (outcome.status, outcome.stderr) == (-signal.SIGTERM, "")
    assert [one.type for one in outcome.events].count(Type.EXIT) == 1
