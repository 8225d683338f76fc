"""A function with something done before and behind each of its calls, of whichever kind it is.

What runs of a coroutine is what is awaited, and of a generator its steps; so there "a call" is that.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

Behind = Callable[[tuple[object, ...]], None]
"""Takes the arguments of the call."""


def around(function: Callable[..., Any], before: Callable[[], None], behind: Behind) -> Callable[..., Any]:
    """A function that does the same. Where the call itself raises, nothing is done behind it."""

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        before()
        result = function(*arguments, **named)
        behind((*arguments, *named.values()))
        return result

    @functools.wraps(function)
    async def awaited(*arguments: Any, **named: Any) -> Any:
        before()
        result = await function(*arguments, **named)
        behind((*arguments, *named.values()))
        return result

    @functools.wraps(function)
    def stepped(*arguments: Any, **named: Any) -> Any:
        given = (*arguments, *named.values())
        return (yield from _Steps(function(*arguments, **named), before, lambda: behind(given)))

    @functools.wraps(function)
    async def awaited_steps(*arguments: Any, **named: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*arguments, **named)
        step = generator.asend(None)
        try:
            while True:
                before()
                try:
                    value = await step
                except StopAsyncIteration:
                    behind((*arguments, *named.values()))
                    return
                behind((*arguments, *named.values()))
                try:
                    sent = yield value
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = generator.athrow(error)
                else:
                    step = generator.asend(sent)
        finally:
            await generator.aclose()

    if inspect.iscoroutinefunction(function):
        return awaited
    if inspect.isasyncgenfunction(function):
        return awaited_steps
    return stepped if inspect.isgeneratorfunction(function) else called


class _Steps(Generator[Any, Any, Any]):
    """A generator with something done before and behind each step."""

    def __init__(
        self, generator: Generator[Any, Any, Any], before: Callable[[], None], behind: Callable[[], None]
    ) -> None:
        self._generator = generator
        self._before = before
        self._behind = behind

    def send(self, value: Any) -> Any:
        return self._step(lambda: self._generator.send(value))

    def throw(self, *error: Any) -> Any:
        return self._step(lambda: self._generator.throw(*error))

    def close(self) -> None:
        self._generator.close()

    def _step(self, step: Callable[[], Any]) -> Any:
        self._before()
        try:
            value = step()
        except StopIteration:
            self._behind()
            raise
        self._behind()
        return value
