"""All interleavings of small concurrent programs, with the store buffers that processors of x86 have (TSO).

A thread is a generator function: it yields what it does next and is given the result.

    def thread():
        yield store("x", 1)
        seen = yield load("y")
        yield claim(seen == 1, "y was set")

`explore` runs every order in which the threads' steps can happen. A store goes to the end of its thread's buffer and
reaches memory at any later time, in order; the thread itself sees it at once. `fence`, `change`, `wait` and `wake`
happen only once the thread's own buffer is empty. Two threads that stand at the same place with the same values in
their variables count as the same, so what a thread does next must depend on nothing else.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Value = Any  # anything that can be hashed


@dataclass(frozen=True, slots=True)
class Op:
    """One step; `words` are the variables it is about."""

    kind: str
    words: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()
    how: Callable[[Value], Value] | None = None


Thread = Generator[Op, Value, Any]


def load(*words: str) -> Op:
    """Read a word, or several at once as a tuple."""
    return Op("load", words)


def store(word: str, value: Value) -> Op:
    """Write a word."""
    return Op("store", (word,), (value,))


def store_all(values: Mapping[str, Value]) -> Op:
    """Write several words at once."""
    return Op("store", tuple(values), tuple(values.values()))


def change(word: str, how: Callable[[Value], Value]) -> Op:
    """Read and write a word without anything between; gives what was there. A full fence."""
    return Op("change", (word,), how=how)


def exchange(word: str, value: Value) -> Op:
    return change(word, lambda _: value)


def compare_and_exchange(word: str, expected: Value, value: Value) -> Op:
    return change(word, lambda there: value if there == expected else there)


def fence() -> Op:
    """All earlier stores of this thread are in memory."""
    return Op("fence")


def fence_of(thread: int) -> Op:
    """All earlier stores of another thread are in memory: membarrier does this with one after the other."""
    return Op("fence of", values=(thread,))


def until(word: str, value: Value, may_give_up: bool = False) -> Op:
    """Go on once the word has that value: True. With `may_give_up` at any time before, too: False."""
    return Op("until", (word,), (value, may_give_up))


def wait(word: str, value: Value) -> Op:
    """FUTEX_WAIT without a time limit: sleep if the word has that value, until somebody wakes."""
    return Op("wait", (word,), (value,))


def wake(word: str, one: bool = False) -> Op:
    """FUTEX_WAKE of all who sleep at the word, or of one of them, whichever it is."""
    return Op("wake", (word,), (one,))


def ghost(word: str, how: Callable[[Value], Value]) -> Op:
    """Note something that is not part of the program, together with the step before; gives what is there then."""
    return Op("ghost", (word,), how=how)


def claim(holds: bool, text: str) -> Op:
    """If it does not hold, the exploration ends with this text."""
    return Op("claim", values=(bool(holds), text))


@dataclass(frozen=True, slots=True)
class Result:
    """How many states there were; what went wrong first ("" for nothing), and the shortest way there."""

    states: int
    wrong: str = ""
    steps: tuple[str, ...] = ()


class _State(NamedTuple):
    memory: tuple[Value, ...]
    buffers: tuple[tuple[tuple[tuple[int, Value], ...], ...], ...]
    given: tuple[tuple[Value, ...], ...]
    asleep: tuple[int, ...]  # at which word, -1 for awake


class _WrongError(Exception): ...


def explore(
    threads: Sequence[Callable[[], Thread]],
    memory: Mapping[str, Value],
    at_end: Callable[[dict[str, Value]], str] = lambda _: "",
    limit: int = 1_000_000,
) -> Result:
    """Run all interleavings of up to `limit` states; RuntimeError if there are more.

    Args:
        threads: what runs, each from its start.
        memory: the words and what they hold at first.
        at_end: is given the memory when all threads have ended; says what is wrong with it, "" for nothing.
    """
    return _Explorer(threads, tuple(memory), at_end, limit).run(tuple(memory.values()))


@dataclass
class _Explorer:
    threads: Sequence[Callable[[], Thread]]
    names: tuple[str, ...]
    at_end: Callable[[dict[str, Value]], str]
    limit: int
    # By thread and what it was given: what it does next, and another way to the same place.
    next_of: dict[tuple[int, tuple[Value, ...]], Op | None] = field(default_factory=dict)
    standing: dict[tuple[int, tuple[Value, ...]], tuple[Value, ...]] = field(default_factory=dict)
    places: dict[Value, tuple[Value, ...]] = field(default_factory=dict)

    def run(self, memory: tuple[Value, ...]) -> Result:
        count = len(self.threads)
        start = self._settled(_State(memory, ((),) * count, ((),) * count, (-1,) * count))
        came: dict[_State, tuple[_State | None, str]] = {start: (None, "")}
        queue = deque([start])
        while queue:
            state = queue.popleft()
            label, moved = "", False
            try:
                for label, then in self._steps(state):
                    moved = True
                    after = self._settled(then)
                    if after not in came:
                        came[after] = (state, label)
                        queue.append(after)
            except _WrongError as error:
                return Result(len(came), str(error), (*_way(came, state), label))
            if len(came) > self.limit:
                raise RuntimeError(f"more than {self.limit} states")
            if not moved and (wrong := self._end(state)):
                return Result(len(came), wrong, _way(came, state))
        return Result(len(came))

    def _end(self, state: _State) -> str:
        if all(self._next(i, given) is None and state.asleep[i] < 0 for i, given in enumerate(state.given)):
            return self.at_end(dict(zip(self.names, state.memory, strict=True)))
        return "deadlock"

    def _given(self, state: _State, thread: int, result: Value) -> _State:
        """The state in which a thread got this result: by one way of several to the same place."""
        given = (*state.given[thread], result)
        key = (thread, given)
        if key not in self.standing:
            program, self.next_of[key] = self._play(thread, given)
            self.standing[key] = self.places.setdefault((thread, _place(program)), given)
        return state._replace(given=_put(state.given, thread, self.standing[key]))

    def _next(self, thread: int, given: tuple[Value, ...]) -> Op | None:
        """What a thread does after it was given these results; None: it has ended."""
        key = (thread, given)
        if key not in self.next_of:
            self.next_of[key] = self._play(thread, given)[1]
        return self.next_of[key]

    def _play(self, thread: int, given: tuple[Value, ...]) -> tuple[Thread, Op | None]:
        program = self.threads[thread]()
        try:
            op = next(program)
            for each in given:
                op = program.send(each)
        except StopIteration:
            return program, None
        return program, op

    def _steps(self, state: _State) -> Iterator[tuple[str, _State]]:
        """The next states, and what leads to them."""
        for i, buffer in enumerate(state.buffers):
            if buffer:
                flushed = _set(state.memory, buffer[0])
                label = f"{i}: {[(self.names[word], value) for word, value in buffer[0]]} reaches memory"
                yield label, state._replace(memory=flushed, buffers=_put(state.buffers, i, buffer[1:]))
            op = self._next(i, state.given[i]) if state.asleep[i] < 0 else None
            if op is not None:
                for after, result in self._done(state, i, op):
                    yield f"{i}: {op.kind} {op.words} {op.values} -> {result}", self._given(after, i, result)

    def _done(self, state: _State, i: int, op: Op) -> Iterator[tuple[_State, Value]]:
        """A step's outcomes: none while it cannot be taken. A thread that falls asleep is given its result at once."""
        words = tuple(self.names.index(word) for word in op.words)
        if op.kind == "store":
            entry = tuple(zip(words, op.values, strict=True))
            yield state._replace(buffers=_put(state.buffers, i, (*state.buffers[i], entry))), None
        elif op.kind == "load":
            seen = tuple(_visible(state, i, word) for word in words)
            yield state, seen if len(seen) > 1 else seen[0]
        elif op.kind == "until":
            if _visible(state, i, words[0]) == op.values[0]:
                yield state, True
            if op.values[1]:
                yield state, False
        elif state.buffers[i]:
            return
        elif op.kind == "fence":
            yield state, None
        elif op.kind == "fence of":
            memory, other = state.memory, op.values[0]
            for entry in state.buffers[other]:
                memory = _set(memory, entry)
            yield state._replace(memory=memory, buffers=_put(state.buffers, other, ())), None
        elif op.kind == "change" and op.how is not None:
            there = state.memory[words[0]]
            yield state._replace(memory=_set(state.memory, ((words[0], op.how(there)),))), there
        elif op.kind == "wait":
            sleeps = state.memory[words[0]] == op.values[0]
            yield state._replace(asleep=_put(state.asleep, i, words[0])) if sleeps else state, None
        elif op.kind == "wake":
            sleepers = [k for k, at in enumerate(state.asleep) if at == words[0]]
            for k in sleepers if op.values[0] else []:
                yield state._replace(asleep=_put(state.asleep, k, -1)), None
            if not (sleepers and op.values[0]):
                yield state._replace(asleep=tuple(-1 if at == words[0] else at for at in state.asleep)), None

    def _settled(self, state: _State) -> _State:
        """With the notes and claims that belong to the step just taken."""
        for i in range(len(self.threads)):
            while state.asleep[i] < 0:
                op, result = self._next(i, state.given[i]), None
                if op is None or op.kind not in ("ghost", "claim"):
                    break
                if op.kind == "claim" and not op.values[0]:
                    raise _WrongError(op.values[1])
                if op.kind == "ghost" and op.how is not None:
                    word = self.names.index(op.words[0])
                    result = op.how(state.memory[word])
                    state = state._replace(memory=_set(state.memory, ((word, result),)))
                state = self._given(state, i, result)
        return state


def _place(program: Any) -> Value:
    """Where a generator, and those that it yields from, stand, and the values of their variables."""
    places = []
    while program is not None and program.gi_frame is not None:
        frame = program.gi_frame
        places.append((frame.f_code, frame.f_lasti, tuple(frame.f_locals.items())))
        program = program.gi_yieldfrom
    return tuple(places)


def _put(items: tuple[Value, ...], at: int, item: Value) -> tuple[Value, ...]:
    return (*items[:at], item, *items[at + 1 :])


def _set(memory: tuple[Value, ...], entry: tuple[tuple[int, Value], ...]) -> tuple[Value, ...]:
    for word, value in entry:
        memory = _put(memory, word, value)
    return memory


def _visible(state: _State, thread: int, word: int) -> Value:
    for entry in reversed(state.buffers[thread]):
        for at, value in entry:
            if at == word:
                return value
    return state.memory[word]


def _way(came: Mapping[_State, tuple[_State | None, str]], state: _State) -> tuple[str, ...]:
    labels = []
    at: _State | None = state
    while at is not None:
        at, label = came[at]
        labels.append(label)
    return tuple(reversed(labels[:-1]))
